from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from flowrunner import NANOSECONDS, NodeFailed
from flowrunner_nodes import _tail, file_in
from flowrunner_nodes.file_in import FileIn
from tests.nodes.harness import START, JournalInMemory, RecordingLog, decoded, options


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_in, "_POLL", 0.005)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lines.jsonl"


async def read(
    path: Path, content: bytes | None = None, cursor: Any = None, **given_options: Any
) -> JournalInMemory:
    """Read a file that is not followed, to its end."""
    if content is not None:
        path.write_bytes(content)
    context = JournalInMemory(cursor)
    await make(path, context, **given_options).run()
    return context


def make(path: Path, context: JournalInMemory, **given_options: Any) -> FileIn:
    return FileIn(options(FileIn, path=str(path), **given_options), context)


async def payloads(path: Path, content: bytes, **given_options: Any) -> list[Any]:
    context = await read(path, content, **given_options)
    return decoded(make(path, context, **given_options), context.records)


@asynccontextmanager
async def following(path: Path, cursor: Any = None, **given_options: Any) -> AsyncIterator[JournalInMemory]:
    context = JournalInMemory(cursor)
    task = asyncio.create_task(make(path, context, follow=True, **given_options).run())
    try:
        yield context
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


async def lines_after(context: JournalInMemory, count: int) -> list[bytes]:
    return [record.data for record in await context.wait_for(count)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"", [], id="an empty file"),
        pytest.param(b'{"a": 1}\n2\n', [{"a": 1}, 2], id="a line is a JSON value"),
        pytest.param(b"1\r\n2\r\n", [1, 2], id="line ends of Windows"),
        pytest.param(b"1\n\n\r\n2", [1, 2], id="blank lines, and no end of the last line"),
        pytest.param(b"\xef\xbb\xbf1\n2\n", [1, 2], id="a byte-order mark"),
    ],
)
async def test_every_line_is_a_message(path: Path, content: bytes, expected: list[Any]) -> None:
    assert expected == await payloads(path, content)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b'{"a": ', id="half a line"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b'"\xff"', id="not UTF-8 in a string"),
        pytest.param(b"NaN", id="no JSON number"),
        pytest.param(b"[" * 100_000, id="too deep"),
    ],
)
async def test_a_line_that_cannot_be_read_is_kept_as_it_is_and_fails_when_decoded(
    path: Path, line: bytes
) -> None:
    context = await read(path, b"1\n" + line + b"\n2\n")

    assert line == context.records[1].data
    result = decoded(make(path, context), context.records)
    assert ([1, 2], True) == ([result[0], result[2]], str(result[1]).startswith("<the data is not JSON"))


async def test_a_record_has_the_name_of_the_file_as_topic_and_the_number_of_the_line(path: Path) -> None:
    context = await read(path, b"1\n\n2\n")

    facts = [(record.topic, dict(record.meta), record.time, record.clock) for record in context.records]
    assert [("lines.jsonl", {"line": 1}, None, None), ("lines.jsonl", {"line": 3}, None, None)] == facts


async def test_the_topic_can_be_given(path: Path) -> None:
    context = await read(path, b"1\n", topic="import")

    assert "import" == context.records[0].topic


@pytest.mark.parametrize("follow", [False, True])
async def test_a_line_longer_than_the_limit_is_dropped_and_counted(path: Path, follow: bool) -> None:
    path.write_bytes(b"1\n" + b"x" * (3 * _tail.MAX_LINE) + b"\n" + b"y" * (_tail.MAX_LINE + 1) + b"\n2\n")
    context = JournalInMemory()
    task = asyncio.create_task(make(path, context, follow=follow).run())

    records = await context.wait_for(2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert ([b"1", b"2"], [1, 4]) == ([r.data for r in records], [r.meta["line"] for r in records])
    assert {"line_too_long": 2} == context.counters.dropped
    assert 4 == context.counters.received


async def test_a_line_of_exactly_the_limit_is_read(path: Path) -> None:
    context = await read(path, b"x" * _tail.MAX_LINE + b"\n")

    assert [_tail.MAX_LINE] == [len(record.data) for record in context.records]


async def test_an_endless_line_at_the_end_of_a_file_is_dropped(path: Path) -> None:
    context = await read(path, b"1\n" + b"x" * (2 * _tail.MAX_LINE))

    assert ([b"1"], {"line_too_long": 1}) == (
        [record.data for record in context.records],
        context.counters.dropped,
    )


# Times


@pytest.mark.parametrize(
    ("format", "value", "expected"),
    [
        pytest.param("rfc3339", '"2026-03-01T11:00:00.5+01:00"', START + NANOSECONDS // 2, id="rfc3339"),
        pytest.param("rfc3339", '"2026-03-01 10:00:00.1234567891z"', START + 123_456_789, id="ten digits"),
        pytest.param("s", "1772359200", START, id="seconds"),
        pytest.param("s", "1772359200.123456", START + 123_456_000, id="a fraction of seconds is exact"),
        pytest.param("s", '"1772359200.5"', START + NANOSECONDS // 2, id="seconds as text"),
        pytest.param("ms", "1772359200001", START + 1_000_000, id="milliseconds"),
        pytest.param("us", "1772359200000001", START + 1_000, id="microseconds"),
        pytest.param("ns", "1772359200000000001", START + 1, id="nanoseconds"),
        pytest.param("s", "-1.5", -1_500_000_000, id="before 1970"),
    ],
)
async def test_the_time_of_a_message_is_read_from_its_line(
    path: Path, format: str, value: str, expected: int
) -> None:
    content = b'{"at": {"ts": %s}}\n' % value.encode()

    context = await read(path, content, time={"field": "at.ts", "format": format})

    assert [expected] == [record.time for record in context.records]


@pytest.mark.parametrize(
    ("format", "line"),
    [
        pytest.param("s", '{"x": 1}', id="no such member"),
        pytest.param("s", "5", id="no mapping"),
        pytest.param("s", '{"ts": null}', id="null"),
        pytest.param("s", '{"ts": true}', id="a bool"),
        pytest.param("s", '{"ts": "soon"}', id="no number"),
        pytest.param("s", '{"ts": "1_0"}', id="a number of Python's"),
        pytest.param("s", '{"ts": 1e300}', id="too large a number"),
        pytest.param("ns", '{"ts": 99999999999999999999}', id="too large an integer"),
        pytest.param("ns", '{"ts": %s}' % ("9" * 4299), id="far too large an integer"),
        pytest.param("rfc3339", '{"ts": "2026-03-01T10:00:00"}', id="no zone"),
        pytest.param("rfc3339", '{"ts": "2026-02-30T10:00:00Z"}', id="no such day"),
        pytest.param("rfc3339", '{"ts": "0001-01-01T00:00:00Z"}', id="too long ago"),
        pytest.param("rfc3339", '{"ts": 5}', id="a number for a text"),
        pytest.param("s", "{", id="no JSON"),
    ],
)
async def test_a_line_whose_time_cannot_be_read_fails_and_keeps_its_place(
    path: Path, format: str, line: str
) -> None:
    settings = {"time": {"field": "ts", "format": format}}
    good = '{"ts": "2026-03-01T10:00:00Z"}' if format == "rfc3339" else '{"ts": 5}'

    context = await read(path, f"{good}\n{line}\n".encode(), **settings)

    first, second = context.records
    assert (None, first.clock) == (second.time, second.clock)
    assert decoded(make(path, context, **settings), [second])[0].startswith("<")


@pytest.mark.parametrize(
    ("given_options", "expected"),
    [
        pytest.param(
            {"time": {"field": "t", "format": "ns"}}, [5, 9, 9], id="the lines' times, never backwards"
        ),
        pytest.param({"time": {"field": "t", "format": "ns"}, "clock": "arrival"}, [None] * 3, id="arrival"),
        pytest.param({}, [None] * 3, id="arrival without a time"),
    ],
)
async def test_the_clock_of_a_file_that_is_read_once(
    path: Path, given_options: dict[str, Any], expected: list[int | None]
) -> None:
    context = await read(path, b'{"t":5}\n{"t":9}\n{"t":7}\n', **given_options)

    assert expected == [record.clock for record in context.records]


async def test_a_restart_does_not_set_the_clock_back(path: Path) -> None:
    time = {"field": "t", "format": "ns"}
    first = await read(path, b'{"t":9}\n', time=time)
    append(path, b'{"t":7}\n')

    second = await read(path, None, first.cursor, time=time)

    assert [9] == [record.clock for record in second.records]


async def test_a_followed_file_is_driven_by_arrival_unless_told(path: Path) -> None:
    path.write_bytes(b'{"t":5}\n')
    time = {"field": "t", "format": "ns"}

    async with following(path, time=time) as by_arrival:
        await by_arrival.wait_for(1)
    async with following(path, time=time, clock="time") as by_time:
        await by_time.wait_for(1)

    assert (None, 5) == (by_arrival.records[0].clock, by_time.records[0].clock)


# CSV


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"a,b\n1,x\n", [{"a": 1, "b": "x"}], id="a header and a row"),
        pytest.param(b"\xef\xbb\xbfa,b\r\n1,2\r\n", [{"a": 1, "b": 2}], id="as spreadsheets write it"),
        pytest.param(b'a,b\n"1,5","x ""y"""\n', [{"a": "1,5", "b": 'x "y"'}], id="quotes"),
        pytest.param(b"a,b\n,\n", [{"a": None, "b": None}], id="empty cells"),
        pytest.param(b"a\n-1.5e3\n", [{"a": -1500.0}], id="a float"),
        pytest.param(
            b"a\n007\n+1\n 1\n1_0\nnan\n",
            [{"a": c} for c in ("007", "+1", " 1", "1_0", "nan")],
            id="no number",
        ),
        pytest.param(
            b"a\n9223372036854775808\n1e999\n", [{"a": "9223372036854775808"}, {"a": "1e999"}], id="too big"
        ),
        pytest.param(b"a\n" + b"1" * 5000 + b"\n", [{"a": "1" * 5000}], id="thousands of digits"),
        pytest.param(b"a,b\n", [], id="a header alone"),
    ],
)
async def test_a_row_is_a_mapping(path: Path, content: bytes, expected: list[Any]) -> None:
    assert expected == await payloads(path, content, format="csv")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param(b"1", "the row has 1 cells and the header 2", id="a cell missing"),
        pytest.param(b"1,2,3", "the row has 3 cells and the header 2", id="a cell too many"),
        pytest.param(b'"1,2', "not a CSV row", id="an open quote"),
        pytest.param(b'"1"x,2', "not a CSV row", id="text after a quote"),
        pytest.param(b"\xff,2", "not a CSV row", id="not UTF-8"),
        pytest.param(b"{},[", "", id="JSON is no way around the header"),
    ],
)
async def test_a_row_that_does_not_fit_fails_when_decoded(path: Path, row: bytes, reason: str) -> None:
    result = await payloads(path, b"a,b\n" + row + b"\n3,4\n", format="csv")

    assert {"a": 3, "b": 4} == result[1]
    assert str(result[0]).startswith(f"<{reason}") or {"a": "{}", "b": "["} == result[0]


async def test_another_delimiter_can_be_given(path: Path) -> None:
    assert [{"a": 1, "b": 2}] == await payloads(path, b"a;b\n1;2\n", format="csv", csv={"delimiter": ";"})


async def test_a_restart_in_the_middle_of_csv_knows_the_header(path: Path) -> None:
    first = await read(path, b"a,b\n1,2\n", format="csv")
    append(path, b"3,4\n")

    second = await read(path, None, first.cursor, format="csv")

    assert [{"a": 3, "b": 4}] == decoded(make(path, second, format="csv"), second.records)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        pytest.param(b"a,b,a", "names the column 'a' twice", id="a name twice"),
        pytest.param(b'"a', "cannot name the columns", id="an open quote"),
        pytest.param(b"", "cannot name the columns", id="a blank line"),
    ],
)
async def test_a_header_that_names_no_columns_stops_the_source(path: Path, header: bytes, words: str) -> None:
    with pytest.raises(NodeFailed, match=words):
        await read(path, header + b"\n1,2,3\n", format="csv")


# Going on after a restart


async def test_a_restart_goes_on_at_the_next_line(path: Path) -> None:
    first = await read(path, b"1\n2\n")
    append(path, b"3\n")

    second = await read(path, None, first.cursor)

    assert [(b"3", 3)] == [(record.data, record.meta["line"]) for record in second.records]


async def test_a_file_that_was_read_is_not_read_again(path: Path) -> None:
    first = await read(path, b"1\n2")

    assert [] == (await read(path, None, first.cursor)).records


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"7\n8\n", id="as long"),
        pytest.param(b"7\n", id="shorter"),
        pytest.param(b"7\n8\n9\n", id="longer"),
    ],
)
async def test_another_file_under_the_same_name_is_read_from_its_start(path: Path, content: bytes) -> None:
    first = await read(path, b"1\n2\n")

    second = await read(path, content, first.cursor)

    assert content.split() == [record.data for record in second.records]
    assert "the file was replaced" in cast(RecordingLog, second.log).lines[-1][1]


async def test_a_cursor_of_another_node_type_is_ignored(path: Path) -> None:
    assert [b"1"] == [record.data for record in (await read(path, b"1\n", cursor=START)).records]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 10**40), min_size=1, max_size=30), st.data())
def test_stopping_after_any_batch_neither_loses_nor_repeats_a_line(
    tmp_path: Path, numbers: list[int], data: st.DataObject
) -> None:
    path = tmp_path / "any.jsonl"
    content = b"".join(b"%d\n" % number for number in numbers)
    path.write_bytes(content)
    chunk = data.draw(st.integers(1, 50), label="bytes at a time")
    got: list[bytes] = []
    cursor = None

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_tail, "CHUNK", chunk)
        while True:
            tail = _tail.Tail(path, follow=False, cursor=cursor)
            lines = tail.read()
            if lines is None:
                tail.close()
                break
            got += [line.data for line in lines]
            cursor = tail.cursor()
            tail.close()

    assert content.split() == got


# Following


async def test_lines_that_are_added_are_read(path: Path) -> None:
    path.write_bytes(b"1\n")
    async with following(path) as context:
        await context.wait_for(1)
        append(path, b"2\n3\n")

        assert [b"1", b"2", b"3"] == await lines_after(context, 3)


async def test_half_a_line_waits_for_its_other_half(path: Path) -> None:
    path.write_bytes(b'1\n"ab')
    async with following(path) as context:
        await context.wait_for(1)
        await asyncio.sleep(0.02)
        assert [b"1"] == [record.data for record in context.records]

        append(path, b'cd"\n')

        assert [b"1", b'"abcd"'] == await lines_after(context, 2)


async def test_half_a_line_is_read_whole_after_a_restart(path: Path) -> None:
    path.write_bytes(b'1\n"ab')
    async with following(path) as context:
        await context.wait_for(1)
    append(path, b'cd"\n')

    async with following(path, context.cursor) as again:
        assert [b'"abcd"'] == await lines_after(again, 1)


async def test_a_file_that_is_not_there_yet_is_waited_for(path: Path) -> None:
    async with following(path) as context:
        await asyncio.sleep(0.02)
        assert ("degraded", f"cannot read {path}: No such file or directory") == (
            context.status,
            context.reason,
        )

        path.write_bytes(b"1\n")

        assert [b"1"] == await lines_after(context, 1)
        assert "running" == context.status


@pytest.mark.parametrize("pause", [0.0, 0.03], ids=["at once", "after a while"])
async def test_a_renamed_file_is_read_to_its_end_before_the_new_one(path: Path, pause: float) -> None:
    path.write_bytes(b"1\n")
    async with following(path) as context:
        await context.wait_for(1)
        append(path, b"2\nhalf")
        path.rename(path.with_suffix(".1"))
        await asyncio.sleep(pause)
        path.write_bytes(b"3\n4\n")

        assert [b"1", b"2", b"half", b"3", b"4"] == await lines_after(context, 5)
        assert [1, 2, 3, 1, 2] == [record.meta["line"] for record in context.records]


async def test_a_file_renamed_while_away_is_read_to_its_end_first(path: Path) -> None:
    path.write_bytes(b"1\n")
    async with following(path) as context:
        await context.wait_for(1)
    append(path, b"2\n")
    path.rename(path.with_suffix(".1"))
    path.write_bytes(b"3\n")

    async with following(path, context.cursor) as again:
        assert [b"2", b"3"] == await lines_after(again, 2)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param([".3", ".2", ".1"], id="numbers"),
        pytest.param(["-20260301", "-20260302", "-20260303"], id="dates"),
    ],
)
async def test_several_files_renamed_while_away_are_read_in_their_order(path: Path, names: list[str]) -> None:
    path.write_bytes(b"0\n")
    async with following(path) as context:
        await context.wait_for(1)
    for number, name in enumerate(names):
        append(path, b"%d\n" % (10 + number))
        renamed = path.rename(path.with_name(path.name + name))
        os.utime(renamed, ns=(0, path.parent.stat().st_mtime_ns + number * 1_000_000_000))
    path.write_bytes(b"4\n")
    for decoy in (".gz", ".old", "-errors", ".1.gz"):
        path.with_name(path.name + decoy).write_bytes(b"decoy\n")
    path.with_name(path.name + ".9").write_bytes(b"decoy\n")
    os.utime(path.with_name(path.name + ".9"), ns=(0, 0))

    async with following(path, context.cursor) as again:
        assert [b"10", b"11", b"12", b"4"] == await lines_after(again, 4)


async def test_a_file_that_was_removed_while_away_is_missed_aloud(path: Path) -> None:
    path.write_bytes(b"1\n")
    async with following(path) as context:
        await context.wait_for(1)
    path.rename(path.parent.parent / "elsewhere.jsonl")
    path.write_bytes(b"3\n")

    async with following(path, context.cursor) as again:
        assert [b"3"] == await lines_after(again, 1)
        assert ["warning"] == [
            level for level, event, _ in cast(RecordingLog, again.log).lines if "replaced" in event
        ]


@pytest.mark.parametrize(
    "content",
    [pytest.param(b"8\n", id="shorter"), pytest.param(b"8\n9\n", id="as long at once")],
)
async def test_a_truncated_file_is_read_from_its_start(path: Path, content: bytes) -> None:
    path.write_bytes(b"1\n2\n")
    async with following(path) as context:
        await context.wait_for(2)
        path.write_bytes(content)

        assert content.split() == (await lines_after(context, 2 + len(content) // 2))[2:]


async def test_half_a_line_before_a_truncation_is_not_lost(path: Path) -> None:
    path.write_bytes(b'1\n"ab')
    async with following(path) as context:
        await context.wait_for(1)
        await asyncio.sleep(0.02)
        os.truncate(path, 0)

        assert [b"1", b'"ab'] == await lines_after(context, 2)


# Mistakes


async def test_a_missing_file_fails_with_advice(path: Path) -> None:
    with pytest.raises(NodeFailed, match="No such file or directory; check `path`, or set `follow: true`"):
        await read(path)


@pytest.mark.parametrize("follow", [False, True])
async def test_a_pipe_is_refused_without_waiting_for_a_writer(path: Path, follow: bool) -> None:
    os.mkfifo(path)

    with pytest.raises(NodeFailed, match="is not a regular file"):
        await make(path, JournalInMemory(), follow=follow).run()


@pytest.mark.parametrize(
    "given_options",
    [
        pytest.param({"csv": {"delimiter": ";"}}, id="csv without its format"),
        pytest.param({"clock": "time"}, id="a clock without a time"),
    ],
)
def test_options_that_need_another_are_refused(given_options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        options(FileIn, path="x", **given_options)

    assert "FR025" == refused.value.errors()[0]["type"]


@pytest.mark.parametrize(
    "given_options",
    [
        pytest.param({}, id="no path"),
        pytest.param({"path": ""}, id="an empty path"),
        pytest.param({"path": "x", "format": "parquet"}, id="an unknown format"),
        pytest.param({"path": "x", "format": "csv", "csv": {"delimiter": ";;"}}, id="a long delimiter"),
        pytest.param({"path": "x", "time": {"field": "a..b"}}, id="an empty name in a field"),
    ],
)
def test_wrong_options_are_refused(given_options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        options(FileIn, **given_options)
