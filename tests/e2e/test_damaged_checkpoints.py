"""Bytes flipped in ``state.db`` while the process is away: it goes on further back, and the result is the same."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.process import Flowrunner

FLOW = """
version: 1
flow: climate
nodes:
  lines:
    type: file_in
    path: {folder}/in.jsonl
    follow: true
    time: {{ field: ts, format: s }}
    clock: time
  room: {{ type: map, from: lines, set: {{ topic: =payload.room }} }}
  calm: {{ type: throttle, from: room, key: topic, every: 7s, emit: last }}
  mean:
    type: aggregate
    from: calm
    key: topic
    window: {{ type: tumbling, size: 1m }}
    fields: {{ mean: time_weighted_mean(payload.x), n: count() }}
  store:
    type: sqlite_out
    from: mean
    path: "{folder}/out.sqlite"
    measurement: climate
    tags: {{ room: =topic }}
"""
LOT = 500


def _add(folder: Path, first: int) -> None:
    with (folder / "in.jsonl").open("a") as file:
        for number in range(first, first + LOT):
            line = {"ts": 1_772_359_200 + number, "room": f"r{number % 7}", "x": number % 31}
            file.write(json.dumps(line) + "\n")


def _points(folder: Path) -> list[Any]:
    with contextlib.closing(sqlite3.connect(folder / "out.sqlite")) as connection:
        return connection.execute("SELECT * FROM points ORDER BY time, tags").fetchall()


def _heads(file: Path) -> list[tuple[int, bytes]]:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return connection.execute("SELECT position, head FROM checkpoints ORDER BY id").fetchall()


def _flip(file: Path, which: str) -> None:
    heads = [head for _, head in _heads(file)]
    content = bytearray(file.read_bytes())
    places = {
        "newest": [content.find(heads[-1])],
        "both": [content.find(head) for head in heads],
        "file": [40],
    }
    for place in places[which]:
        assert place > 0
        content[place : place + 24] = bytes(byte ^ 0xFF for byte in content[place : place + 24])
    file.write_bytes(content)


async def _run(folder: Path, which: str | None) -> tuple[list[Any], list[dict[str, Any]]]:
    """Read two lots, damage the checkpoints unless ``which`` is ``None``, and read a third."""
    folder.mkdir()
    async with Flowrunner(folder, checkpoint_every="100ms") as flowrunner:
        flowrunner.write("climate.yaml", FLOW.format(folder=folder))
        _add(folder, 0)
        await flowrunner.start()
        file = flowrunner.state / "flows" / "climate" / "state.db"
        for lot in (0, 1):
            if lot:
                _add(folder, lot * LOT)
            done = (lot + 1) * LOT
            await flowrunner.until(
                lambda done=done: file.exists() and _heads(file)[-1:] and _heads(file)[-1][0] == done
            )
        if which is not None:
            flowrunner.kill()
            _flip(file, which)
            await flowrunner.start()
        _add(folder, 2 * LOT)
        await flowrunner.until(lambda: _heads(file)[-1:] and _heads(file)[-1][0] == 3 * LOT)
        books = flowrunner.ledger("climate")
        assert (3 * LOT, 0) == (books["received"], books["unaccounted"])
        assert 0 == await flowrunner.stop()
        log = [json.loads(line) for line in flowrunner.log.read_text().splitlines()]
    return _points(folder), log


@pytest.mark.parametrize(
    ("which", "goes_on"),
    [
        ("newest", "at the checkpoint before"),
        ("both", "at the oldest record of the journal"),
        ("file", "at the oldest record of the journal"),
    ],
)
async def test_damaged_checkpoints_change_nothing_in_the_result(
    tmp_path: Path, which: str, goes_on: str
) -> None:
    expected, _ = await _run(tmp_path / "undisturbed", None)

    found, log = await _run(tmp_path / "damaged", which)

    assert len(expected) > 50
    assert expected == found
    told = [line for line in log if line["event"] == "checkpoints are damaged"]
    assert [(goes_on, 1)] == [(line["goes_on"], line["damaged"]) for line in told]
    assert not [line for line in log if line["event"] == "flow crashed"]
