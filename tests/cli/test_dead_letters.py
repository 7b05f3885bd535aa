"""``flowrunner dead-letters`` on a state directory, without a running process unless a test plays one."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flowrunner import NANOSECONDS, Message
from flowrunner.cli.main import app
from flowrunner.clock import SystemClock
from flowrunner.errors import FlowrunnerError
from flowrunner.runtime import database
from flowrunner.runtime.checkpoints.store import DiskStore
from flowrunner.runtime.letters import file as letter_file
from flowrunner.runtime.letters import table as letter_table
from flowrunner.runtime.letters.facts import parse_since, when
from flowrunner.runtime.letters.letter import DeadLetter, Undecoded

NOW = SystemClock().now()


def letter(number: int, node: str, reason: str, age: float = 0, **fields: Any) -> DeadLetter:
    message = Message(f"t/{number}", {"n": number}, NOW, {"qos": 1}, clock=number, seq=number)
    return DeadLetter.of(message.replace(**fields), node, reason, NOW - round(age * NANOSECONDS))


def fill(state: Path, flow: str, letters: list[DeadLetter]) -> None:
    async def store() -> None:
        made = DiskStore(state / "flows" / flow / "state.db", SystemClock())
        await made.open()
        await made.add_dead_letters(letters)
        await made.close()

    asyncio.run(store())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    fill(
        tmp_path,
        "climate",
        [
            letter(1, "store", "400: field type conflict", 7200),
            letter(2, "store", "422: \x1b[31mred\x07 and ünïcode", 60, meta={"replays": 2}),
            letter(3, "valid", "no such field"),
        ],
    )
    raw = Undecoded("z/1", "\\xff", NOW, {}, 9, 9, b"\xff")
    fill(tmp_path, "zigbee", [DeadLetter.of(raw, "sensors", "not JSON", NOW - NANOSECONDS)])
    return tmp_path


class Result:
    def __init__(self, state: Path, *arguments: str, answer: str = "") -> None:
        result = CliRunner().invoke(
            app, ["dead-letters", arguments[0], "--state-dir", str(state), *arguments[1:]], input=answer
        )
        self.code, self.out, self.err = result.exit_code, result.stdout, result.stderr
        self.error = result.exception if not isinstance(result.exception, SystemExit) else None

    @property
    def ids(self) -> list[str]:
        return [one["id"] for one in json.loads(self.out)]


ALL = ["climate/3", "zigbee/1", "climate/2", "climate/1"]


@pytest.mark.parametrize(
    ("conditions", "ids"),
    [
        ([], ALL),
        (["--flow", "climate"], ["climate/3", "climate/2", "climate/1"]),
        (["--node", "store"], ["climate/2", "climate/1"]),
        (["--reason", "JSON"], ["zigbee/1"]),
        (["--since", "1h"], ["climate/3", "zigbee/1", "climate/2"]),
        (["--since", when(NOW - 3600 * NANOSECONDS)], ["climate/3", "zigbee/1", "climate/2"]),
        (["--since", "2000-01-01"], ALL),
        (["--limit", "1"], ["climate/3"]),
        (["--node", "none"], []),
    ],
)
def test_letters_are_listed_the_newest_first(conditions: list[str], ids: list[str], state: Path) -> None:
    assert ids == Result(state, "list", "--format", "json", *conditions).ids


def test_the_table_is_clear_and_safe_for_a_terminal(state: Path) -> None:
    result = Result(state, "list", "--flow", "climate")

    head, *rows = result.out.splitlines()
    assert ["ID", "FAILED", "AT", "NODE", "TRIED", "TOPIC", "REASON"] == head.split()
    assert [head.index(word) for word in ("NODE", "TRIED", "TOPIC", "REASON")] == [
        rows[1].index(word, 30) for word in ("store", "3 ", "t/2", "422:")
    ]
    assert rows[1].endswith("422: \\x1b[31mred\\x07 and ünïcode")


def test_on_a_terminal_a_row_is_one_line(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    from flowrunner.cli import dead_letters as work

    fill(state, "long", [letter(1, "store", "x" * 500, topic="t" * 100)])
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr(work, "_columns", lambda: 120)
    work.list_letters(work.Wanted(state, flow="long"), format="text")

    assert [True, True] == [len(line) <= 120 for line in terminal.getvalue().splitlines()]
    assert "…" in terminal.getvalue()


def test_a_letter_is_shown_in_full(state: Path) -> None:
    shown = json.loads(Result(state, "show", "zigbee/1", "--format", "json").out)
    assert ("sensors", "not JSON", 1, "z/1", "/w==", 9) == tuple(
        shown[name] for name in ("node", "reason", "tried", "topic", "data", "position")
    )

    text = Result(state, "show", "climate/2").out
    assert "reason     422: \\x1b[31mred\\x07 and ünïcode\n" in text
    assert 'payload    {"n":2}\n' in text
    assert "tried      3\n" in text
    assert "data" not in text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["show", "climate/99"], "there is no dead letter climate/99"),
        (["show", "none/1"], "there is no dead letter none/1"),
        (["show", "12"], "`12` is not the id of a dead letter"),
        (["list", "--flow", "none"], "flow `none` has no state"),
        (["list", "--since", "yesterday"], "`yesterday` is neither a length of time"),
        (["list", "--since", "10"], "`10` is neither a length of time"),
    ],
)
def test_what_is_not_there_is_said(arguments: list[str], reason: str, state: Path) -> None:
    error = Result(state, *arguments).error

    assert isinstance(error, FlowrunnerError)
    assert reason in str(error)


def test_without_a_state_directory_it_says_which_is_missing(tmp_path: Path) -> None:
    assert f"there is no state directory {tmp_path / 'x'}" in str(Result(tmp_path / "x", "list").error)
    assert ("no dead letters\n", 0) == (Result(tmp_path, "list").err, Result(tmp_path, "list").code)


@pytest.mark.parametrize("command", ["replay", "purge"])
def test_nothing_is_changed_by_leaving_everything_out(command: str, state: Path) -> None:
    result = Result(state, command)

    assert (2, True) == (result.code, "needs to know which" in result.err)
    assert ALL == Result(state, "list", "--format", "json").ids


@pytest.mark.parametrize(
    ("arguments", "answer", "left", "said"),
    [
        (["climate/1", "climate/1", "--yes"], "", ALL[:3], "purged: 1 dead letter\n"),
        (["--flow", "climate", "--yes"], "", ["zigbee/1"], "purged: 3 dead letters\n"),
        (["--all"], "y\n", [], "purged: 4 dead letters\n"),
        (["--all"], "\n", ALL, ""),
        (["--all"], "", ALL, ""),
        (["--all", "--dry-run"], "", ALL, "would be purged: 4 dead letters\n"),
        (["--node", "none", "--yes"], "", ALL, "no dead letters\n"),
    ],
)
def test_letters_are_purged_when_that_is_meant(
    arguments: list[str], answer: str, left: list[str], said: str, state: Path
) -> None:
    result = Result(state, "purge", *arguments, answer=answer)

    assert result.out.endswith(said)
    assert int(not said) == result.code
    assert left == Result(state, "list", "--format", "json").ids


def test_without_a_process_a_replay_waits_for_the_next_start(state: Path) -> None:
    assert (
        "climate/3\nwould be replayed: 1 dead letter\n"
        == Result(state, "replay", "climate/3", "--dry-run").out
    )
    result = Result(state, "replay", "climate/3", "--wait", "0")

    assert ("will be replayed when their flow runs: 1 dead letter\n", 0) == (result.out, result.code)
    listed = json.loads(Result(state, "list", "--format", "json").out)
    assert ["asked for", None, None, None] == [one["replay"] for one in listed]
    assert "(to be replayed)" in Result(state, "list").out
    assert "no dead letters\n" == Result(state, "replay", "--node", "none").out


@pytest.fixture
def process(state: Path) -> Iterator[None]:
    """Play the flow `climate`: take what is wanted for `store`, refuse the rest."""
    ended = threading.Event()

    def play() -> None:
        connection = database.connect(state / "flows" / "climate" / "state.db")
        while not ended.wait(0.05):
            with database.transaction(connection):
                for kept in letter_table.select(connection, letter_table.Selection(wanted=True)):
                    if kept.letter.node == "store":
                        letter_table.end(connection, "replayed", [(kept.key, kept.letter.clock)])
                    else:
                        letter_table.refuse(connection, [(kept.number, "there is no node `valid` any more")])
        connection.close()

    thread = threading.Thread(target=play)
    thread.start()
    yield
    ended.set()
    thread.join()


@pytest.mark.usefixtures("process")
def test_with_a_process_it_says_what_came_of_it(state: Path) -> None:
    result = Result(state, "replay", "--flow", "climate")

    assert ("replayed: 2 dead letters\n", 1) == (result.out, result.code)
    assert "climate/3 is refused: there is no node `valid` any more\n" == result.err
    assert "(replay refused: there is no node `valid` any more)" in Result(state, "list").out


def test_more_letters_than_a_page_are_found_replayed_and_purged(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letter_file, "PAGE", 2)

    assert ALL == Result(state, "list", "--format", "json").ids
    assert "4 dead letters" in Result(state, "replay", "--all", "--wait", "0").out
    assert "purged: 3 dead letters\n" == Result(state, "purge", "--flow", "climate", "--yes").out


def test_a_file_that_cannot_be_read_or_is_busy_is_said_in_one_line(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = sqlite3.connect(state / "flows" / "climate" / "state.db", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(
        database, "connect", lambda path: sqlite3.connect(path, isolation_level=None, timeout=0.1)
    )
    started = time.monotonic()
    assert "cannot be used now: database is locked" in str(Result(state, "list").error)
    assert time.monotonic() - started < 5
    connection.close()
    (state / "flows" / "climate" / "state.db").write_bytes(b"x" * 5000)
    assert "cannot be used now: file is not a database" in str(Result(state, "list").error)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01T10:00:00Z", 1_772_359_200_000_000_000),
        ("2026-03-01T11:00:00+01:00", 1_772_359_200_000_000_000),
        ("2026-03-01 10:00:00.25", 1_772_359_200_250_000_000),
    ],
)
def test_moments_are_read(text: str, moment: int) -> None:
    assert moment == parse_since(text, NOW)


def test_a_length_of_time_is_counted_back_from_now() -> None:
    assert NOW - 60 * NANOSECONDS == parse_since("1m", NOW)


def test_a_time_that_no_calendar_has_is_shown_as_a_number() -> None:
    assert str(2**80) == when(2**80)
