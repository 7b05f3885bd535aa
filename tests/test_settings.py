"""The operator's settings: where they come from and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from flowrunner import NANOSECONDS
from flowrunner.settings import Settings


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FLOWRUNNER_{name.upper()}", raising=False)


def test_without_any_there_are_defaults() -> None:
    settings = Settings()

    assert (Path(".flowrunner"), "127.0.0.1", 8080, None) == (
        settings.state_dir,
        settings.http_host,
        settings.http_port,
        settings.api_token,
    )
    assert (2**30, 10 * NANOSECONDS, 25 * NANOSECONDS) == (
        settings.journal_max_bytes,
        settings.checkpoint_every,
        settings.shutdown_grace,
    )


def test_the_environment_sets_them_and_the_command_line_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWRUNNER_HTTP_PORT", "9000")
    monkeypatch.setenv("FLOWRUNNER_CHECKPOINT_EVERY", "500ms")
    monkeypatch.setenv("FLOWRUNNER_API_TOKEN", "secret")

    settings = Settings(http_port=9001)
    assert (9001, NANOSECONDS // 2) == (settings.http_port, settings.checkpoint_every)
    assert settings.api_token is not None
    assert "secret" == settings.api_token.get_secret_value()
    assert "secret" not in repr(settings)


@pytest.mark.parametrize("name", ["API_TOKEN", "HTTP_PORT", "STATE_DIR", "CHECKPOINT_EVERY"])
def test_an_empty_variable_is_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"FLOWRUNNER_{name}", "")

    assert Settings() == Settings.model_validate({})
    assert Settings().api_token is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("http_port", 70_000),
        ("http_port", "http"),
        ("api_token", ""),
        ("log_level", "loud"),
        ("checkpoint_every", "10"),
        ("checkpoint_every", "0s"),
        ("reload_poll", "0s"),
        ("journal_max_bytes", "many"),
        ("instance", "a b"),
    ],
)
def test_what_cannot_be_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})
