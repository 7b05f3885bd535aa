"""``flowrunner history`` on catalogs in SQLite; on PostgreSQL it is tested with a process, in tests/e2e."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flowrunner.catalog.address import address
from flowrunner.catalog.store import Store
from flowrunner.cli.main import app
from tests.catalog.databases import ERROR, revision


class Result:
    def __init__(self, *arguments: str) -> None:
        result = CliRunner().invoke(app, ["history", *arguments])
        self.code, self.out, self.err = result.exit_code, result.stdout, result.stderr


def fill(state: Path, instance: str, *revisions: Any) -> None:
    async def write() -> None:
        store = Store(address(None, state))
        await store.prepare()
        await store.write(instance, revisions)

    asyncio.run(write())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    refused = revision(
        2, result="refused", reason=ERROR.message, diagnostics=(ERROR,), plan=None, source=None, hash=None
    )
    failed = revision(3, result="rolled_back", reason="SwapError: \x1b[31mno", flow="other")
    fill(tmp_path, "house", revision(1), refused, failed)
    return tmp_path


TABLE = """\
TIME                      FLOW     RESULT       HASH          FILE                WHAT
2026-03-01T10:00:00.000Z  other    rolled back  000000000000  flows/climate.yaml  SwapError: ·[31mno
2026-03-01T10:00:00.000Z  climate  refused      -             flows/climate.yaml  6:17: there is no node type `throtle`
2026-03-01T10:00:00.000Z  climate  applied      000000000000  flows/climate.yaml  1 state kept
"""


def test_text_tells_of_the_newest_first(state: Path) -> None:
    result = Result("--state-dir", str(state))

    assert (0, TABLE, "") == (result.code, result.out, result.err)


def test_several_instances_are_told_apart(state: Path) -> None:
    fill(state, "garden", revision(4))

    lines = Result("--state-dir", str(state)).out.splitlines()

    assert ["INSTANCE", "garden", "house", "house", "house"] == [line.split()[1] for line in lines]


@pytest.mark.parametrize(
    ("arguments", "results"),
    [
        ([], ["rolled_back", "refused", "applied"]),
        (["climate"], ["refused", "applied"]),
        (["climate", "--limit", "1"], ["refused"]),
        (["nobody"], []),
    ],
)
def test_json_has_everything(arguments: list[str], results: list[str], state: Path) -> None:
    rows = json.loads(Result(*arguments, "--format", "json", "--state-dir", str(state)).out)

    assert results == [row["result"] for row in rows]
    assert all(
        {"time", "instance", "file", "hash", "diagnostics", "plan", "source"} <= row.keys() for row in rows
    )


def test_no_revisions_are_said_on_standard_error(state: Path) -> None:
    result = Result("nobody", "--state-dir", str(state))

    assert (0, "", "no revisions\n") == (result.code, result.out, result.err)


def test_the_url_wins_over_the_state_directory(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWRUNNER_CATALOG_URL", f"sqlite:///{state / 'catalog.db'}")

    assert TABLE == Result("--state-dir", "elsewhere").out


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        pytest.param(None, 1, "error: there is no catalog at ", id="no catalog"),
        pytest.param(
            "mysql://u:canary@h/d", 2, "error: setting FLOWRUNNER_CATALOG_URL: must be", id="no such scheme"
        ),
        pytest.param(
            "postgresql://u:canary@/d?host=/nowhere",
            1,
            "error: the catalog at postgresql:///d cannot be read: ",
            id="no server",
        ),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(
    url: str | None, code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if url is not None:
        monkeypatch.setenv("FLOWRUNNER_CATALOG_URL", url)

    result = Result("--state-dir", str(tmp_path))

    assert (code, "", True) == (result.code, result.out, result.err.startswith(said)), result.err
    assert "canary" not in result.err
