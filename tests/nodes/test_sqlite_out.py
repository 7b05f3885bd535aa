"""`sqlite_out`: points in a file, safe when written, the same however often they are written."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from flowrunner import Message, RetryLater
from flowrunner_nodes.sqlite_out import SqliteOut
from tests.nodes.harness import make_sink
from tests.nodes.influx_harness import START, deliver, readings

type MakeSink = Callable[..., SqliteOut]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[MakeSink]:
    """Return a function that makes a sink for ``points.sqlite``, closed at the end."""
    made: list[SqliteOut] = []

    def make_one(**given: Any) -> SqliteOut:
        defaults = {
            "path": str(tmp_path / "points.sqlite"),
            "measurement": "climate",
            "tags": {"sensor": "=topic"},
        }
        made.append(make_sink(SqliteOut, **defaults | given))
        return made[-1]

    yield make_one
    for node in made:
        await node.close()


async def pragma(node: SqliteOut, statement: str) -> Any:
    """Ask the sink's own connection, in its own thread."""
    answers = []

    def ask() -> None:
        assert node._database is not None
        answers.extend(node._database.execute(f"PRAGMA {statement}").fetchone())

    await node._in_thread(ask)
    return answers[0]


def rows(path: Path) -> list[tuple[Any, ...]]:
    database = sqlite3.connect(path)
    try:
        return database.execute("SELECT measurement, tags, time, fields FROM points").fetchall()
    finally:
        database.close()


async def test_a_message_becomes_a_row_with_sorted_json(make: MakeSink, tmp_path: Path) -> None:
    node = make(tags={"sensor": "=topic", "area": "=payload.area"}, types={"count": "int"})
    await node.open()
    payload = {"mean": 21.5, "count": 3.0, "on": True, "area": "Küche", "none": None, "more": {"x": 1}}

    await deliver(node, [Message("kitchen", payload, START)])

    tags = '{"area":"Küche","sensor":"kitchen"}'
    fields = '{"area":"Küche","count":3,"mean":21.5,"more_x":1,"on":true}'
    assert rows(tmp_path / "points.sqlite") == [("climate", tags, START, fields)]


async def test_a_batch_that_is_written_again_is_there_once(make: MakeSink, tmp_path: Path) -> None:
    node = make()
    await node.open()

    await deliver(node, readings(100))
    await deliver(node, readings(100))

    found = rows(tmp_path / "points.sqlite")
    assert [fields for *_, fields in found] == [f'{{"value":{index}}}' for index in range(100)]


async def test_fields_of_the_same_point_are_merged_and_the_last_value_wins(
    make: MakeSink, tmp_path: Path
) -> None:
    node = make()
    await node.open()

    await deliver(node, [Message("k", {"a": 1, "b": 1.0}, START)])
    await deliver(node, [Message("k", {"b": 2.5, "c": "x"}, START)])

    assert rows(tmp_path / "points.sqlite") == [
        ("climate", '{"sensor":"k"}', START, '{"a":1,"b":2.5,"c":"x"}')
    ]


async def test_the_file_is_taken_up_again_and_can_be_read_meanwhile(make: MakeSink, tmp_path: Path) -> None:
    first = make()
    await first.open()
    await deliver(first, readings(1))
    await first.close()

    second = make()
    await second.open()
    await deliver(second, readings(2))

    assert len(rows(tmp_path / "points.sqlite")) == 2


async def test_messages_that_are_no_points_fail_alone(make: MakeSink, tmp_path: Path) -> None:
    node = make(measurement="=payload.m")
    await node.open()
    payloads: list[Any] = [{"m": "a", "x": 1}, {"m": ""}, {"x": 1}, {"m": None, "x": 1}]

    delivery = await deliver(node, [Message("k", payload, START) for payload in payloads])

    assert delivery.failed == payloads[1:]
    assert [reason.split(":")[0] for reason in delivery.reasons] == [
        "the measurement is empty",
        "`measurement`",
        "the measurement is empty",
    ]
    assert len(rows(tmp_path / "points.sqlite")) == 1


async def test_folders_are_made_and_the_path_is_relative_to_the_working_directory(
    make: MakeSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    node = make(path="a/b/points.sqlite")
    await node.open()

    await deliver(node, readings(1))

    assert len(rows(tmp_path / "a" / "b" / "points.sqlite")) == 1


async def test_nothing_is_touched_before_the_first_batch(make: MakeSink, tmp_path: Path) -> None:
    node = make()
    await node.open()
    await node.close()
    await node.close()

    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_a_file_that_is_no_database_keeps_the_data_until_it_is_gone(
    make: MakeSink, tmp_path: Path
) -> None:
    path = tmp_path / "points.sqlite"
    path.write_bytes(b"this is no database" * 100)
    node = make()
    await node.open()

    with pytest.raises(RetryLater, match="file is not a database") as later:
        await deliver(node, readings(3), attempts=1)
    path.unlink()
    await node.write(list(later.value.remaining or ()))

    assert len(rows(path)) == 3


async def test_a_folder_in_the_place_of_the_file_keeps_the_data(make: MakeSink, tmp_path: Path) -> None:
    (tmp_path / "points.sqlite").mkdir()
    node = make()
    await node.open()

    with pytest.raises(RetryLater, match="unable to open database file"):
        await deliver(node, readings(1), attempts=1)


async def test_a_file_in_the_place_of_a_folder_keeps_the_data(make: MakeSink, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    node = make(path=str(tmp_path / "a" / "points.sqlite"))
    await node.open()

    with pytest.raises(RetryLater, match="File exists"):
        await deliver(node, readings(1), attempts=1)


async def test_a_full_disk_keeps_the_whole_batch_and_stores_none_of_it(
    make: MakeSink, tmp_path: Path
) -> None:
    node = make()
    await node.open()
    await deliver(node, readings(1))
    await pragma(node, f"max_page_count = {await pragma(node, 'page_count')}")
    messages = [Message("k", {"text": "x" * 60_000}, START + index) for index in range(1, 20)]

    with pytest.raises(RetryLater, match="database or disk is full") as later:
        await deliver(node, messages, attempts=1)

    assert later.value.remaining == messages
    assert len(rows(tmp_path / "points.sqlite")) == 1
    await node.write(messages)
    assert len(rows(tmp_path / "points.sqlite")) == 20


async def test_the_file_survives_a_loss_of_power(make: MakeSink) -> None:
    """A journal believes what a sink says: nothing less than a synchronous commit will do."""
    node = make()
    await node.open()
    await deliver(node, readings(1))

    assert [await pragma(node, name) for name in ("journal_mode", "synchronous")] == ["wal", 2]


async def test_a_time_beyond_64_bits_fails(make: MakeSink) -> None:
    node = make()
    await node.open()

    delivery = await deliver(node, [Message("k", 1, 2**70)])

    assert "is outside what InfluxDB can store" in delivery.reasons[0]
