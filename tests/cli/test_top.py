"""``flowrunner top``: rates from two snapshots, the table, the keys, and a real server."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flowrunner.cli import top as work
from flowrunner.cli.keys import Keys
from flowrunner.cli.top import Column, Look, rate, rows, table
from tests.cli.test_tap import call, foreign, server


def node(**counts: Any) -> dict[str, Any]:
    zero = dict.fromkeys(("received", "written", "dead_lettered", "errors", "held", "depth", "capacity"), 0)
    given: dict[str, Any] = {
        "type": "filter",
        "status": "running",
        "reason": None,
        "emitted": {},
        "dropped": {},
        "busy": 0.0,
    }
    return {**zero, **given, **counts}


def snapshot(time: float, lag: float = 0.0, **nodes: Any) -> dict[str, Any]:
    flow = {"status": "running", "lag": lag, "nodes": nodes}
    return {"time": time, "ready": True, "flows": {"house": flow}}


BEFORE = snapshot(10.0, a=node(received=5, emitted={"out": 5}), b=node(), c=node())
NOW = snapshot(
    12.0,
    20.0,
    a=node(received=25, emitted={"out": 10, "errors": 5}, busy=0.5, errors=5),
    b=node(received=2, written=2, depth=10, capacity=10, held=4, dropped={"error": 3, "late": 4}),
    c=node(dead_lettered=1, status="failed", depth=1, capacity=20, received=400),
    new=node(received=7),
)


def look() -> Look:
    return Look(NOW["time"], NOW["ready"], NOW["flows"], rows(BEFORE, NOW))


def test_rates_are_what_happened_between_two_snapshots() -> None:
    a, b, _, new = rows(BEFORE, NOW)

    assert (10.0, 5.0, 25.0) == (a.received, a.emitted, a.busy)
    assert (1.0, 1.0, 7) == (b.received, b.emitted, b.dropped)
    assert 0.0 == new.received


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        pytest.param("flow", ["a", "b", "c", "new"], id="flow"),
        pytest.param("in", ["c", "a", "b", "new"], id="in"),
        pytest.param("out", ["a", "b", "c", "new"], id="out"),
        pytest.param("busy", ["a", "b", "c", "new"], id="busy"),
        pytest.param("depth", ["b", "c", "a", "new"], id="depth"),
        pytest.param("held", ["b", "a", "c", "new"], id="held"),
        pytest.param("errors", ["a", "b", "c", "new"], id="errors"),
        pytest.param("dropped", ["b", "c", "a", "new"], id="dropped"),
    ],
)
def test_the_largest_comes_first(sort: Column, expected: list[str]) -> None:
    shown = list(table(look(), sort).columns[1].cells)
    turned = list(table(look(), sort, turned=True).columns[1].cells)

    assert expected == [str(cell) for cell in shown]
    assert list(reversed(expected)) == [str(cell) for cell in turned]


def test_drops_lag_and_full_channels_are_in_colour() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=160, color_system="standard")
    console.print(table(look(), "dropped"))
    text = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO

    for red in ("7", "10/10", " lag 20.0 s"):
        assert re.search(rf"\x1b\[1;31m *{red}\x1b\[0m", text), red
    assert "dropped ▼" in text


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, ""), (0.04, "0.0"), (3.14, "3.1"), (1234.5, "1,234"), (-1.0, "")]
)
def test_a_rate_is_short(value: float, expected: str) -> None:
    assert expected == rate(value)


def test_one_table_and_one_object_of_a_running_process(tmp_path: Path) -> None:
    with server(tmp_path) as url:
        text = call("top", "--once", "--url", url)
        told = call("top", "--once", "--format", "json", "--url", url)

        assert (0, 0) == (text.exit_code, told.exit_code)
        assert "house" in text.stdout
        assert ["a", "n", "later", "b"] == [one["node"] for one in json.loads(told.stdout)["nodes"]]


def test_no_process_is_told() -> None:
    done = call("top", "--url", "http://127.0.0.1:1")

    assert (1, True) == (done.exit_code, "error: no flowrunner answers" in done.stderr)


def test_the_end_of_the_process_is_told() -> None:
    with foreign(200, b"data: " + json.dumps(BEFORE).encode() + b"\n\n") as url:
        done = call("top", "--url", url)

        assert (1, f"error: {url} has ended the stream\n") == (done.exit_code, done.stderr)


def test_keys_sort_turn_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, bool]] = []
    pressed = iter(["", "d", "r", "q"])

    def draw(seen: Look, sort: str, *, turned: bool = False) -> str:
        shown.append((sort, turned))
        return ""

    monkeypatch.setattr(work, "table", draw)
    monkeypatch.setattr(Keys, "pressed", lambda self: next(pressed))
    monkeypatch.setattr(work, "look", lambda api: iter([look()] * 5))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(sys, "stdout", _Terminal())

    assert 0 == work.top(sort="flow", once=False, format="text", url=None, token=None)
    assert [("flow", False), ("dropped", False), ("dropped", True)] == shown


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_keys_are_read_one_by_one_from_a_terminal() -> None:
    leader, follower = pty.openpty()
    try:
        with open(follower, closefd=False) as terminal, Keys(terminal) as keys:
            assert "" == keys.pressed()
            os.write(leader, b"Q")
            assert "q" == keys.pressed()
    finally:
        os.close(leader)
        os.close(follower)


def test_without_a_terminal_there_are_no_keys() -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, b"q")
        with open(reading, closefd=False) as pipe, Keys(pipe) as keys:
            assert "" == keys.pressed()
    finally:
        os.close(reading)
        os.close(writing)
