"""Where a catalog is, and that its password is told to nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from flowrunner.catalog.address import Address, address
from flowrunner.settings import Settings

STATE = Path("state")
URL = "postgresql://me:p%40ss@db.example:5432/flows?sslmode=require&sslpassword=other"


@pytest.mark.parametrize(
    ("url", "file", "shown"),
    [
        pytest.param(None, STATE / "catalog.db", "state/catalog.db", id="by default"),
        pytest.param("sqlite:///other.db", Path("other.db"), "other.db", id="a file"),
        pytest.param("sqlite:////var/x.db", Path("/var/x.db"), "/var/x.db", id="a file from the root"),
        pytest.param(URL, None, "postgresql://db.example:5432/flows", id="a server"),
        pytest.param("postgres://h/d", None, "postgresql://h/d", id="the short scheme"),
    ],
)
def test_what_a_url_stands_for(url: str | None, file: Path | None, shown: str) -> None:
    found = address(url, STATE)

    assert (file, shown, f"Address({shown})") == (found.file, found.shown, repr(found))


@pytest.mark.parametrize("said", ["p%40ss", "p@ss", "other", URL])
def test_what_is_secret_in_a_url_is_masked_in_the_words_of_others(said: str) -> None:
    assert "cannot use *** here" == address(URL, STATE).mask(f"cannot use {said} here")


def test_a_file_has_no_secrets() -> None:
    assert "a text" == Address(Path("x")).mask("a text")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:canary@h/d",
        "canary",
        "postgresql://u:can/ary@h:1/d",
        "sqlite:canary",
        "sqlite://h/x",
        "postgres://h:0/",
    ],
)
def test_a_wrong_url_is_refused_without_being_told(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(catalog_url=url)

    (problem,) = refused.value.errors(include_url=False, include_input=False)
    assert "must be postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE" == problem["msg"]
    assert "canary" not in str(problem)


def test_settings_do_not_show_the_url() -> None:
    assert "p%40ss" not in repr(Settings(catalog_url=URL))
