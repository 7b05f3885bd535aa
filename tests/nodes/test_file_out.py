from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from flowrunner import RetryLater
from flowrunner_nodes import _appender
from flowrunner_nodes.file_in import FileIn
from flowrunner_nodes.file_out import FileOut
from tests.nodes.harness import START, JournalInMemory, decoded, make_sink, message, options, write_all

COLUMNS = {"time": "=time", "sensor": "=topic", "value": "=payload.v", "site": "home"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive" / "out.jsonl"


def make(path: Path, **given_options: Any) -> FileOut:
    return make_sink(FileOut, path=str(path), **given_options)


async def write(path: Path, *payloads: Any, **given_options: Any) -> list[str]:
    return await write_all(make(path, **given_options), [message(payload) for payload in payloads])


async def test_a_line_is_the_whole_message(path: Path) -> None:
    node = make(path)

    await write_all(node, [message({"v": 1}, topic="home/t", qos=1), message(None)])

    first, second = [json.loads(line) for line in path.read_text().splitlines()]
    assert {"topic": "home/t", "payload": {"v": 1}, "time": START, "meta": {"qos": 1}} == first
    assert {"topic": "t", "payload": None, "time": START, "meta": {}} == second


async def test_a_line_is_the_payload_alone_if_asked(path: Path) -> None:
    await write(path, {"v": "ä\n"}, 5, what="payload")

    assert '{"v":"ä\\n"}\n5\n' == path.read_text()


async def test_lines_are_added_to_those_there_are(path: Path) -> None:
    await write(path, 1, what="payload")
    await write(path, 2, what="payload")

    assert "1\n2\n" == path.read_text()


async def test_what_was_written_is_read_back_by_file_in(path: Path) -> None:
    payloads = [{"v": 1.5}, [1, "x"], None, "two\nlines"]
    await write(path, *payloads)
    context = JournalInMemory()
    source = FileIn(options(FileIn, path=str(path), time={"field": "time", "format": "ns"}), context)

    await source.run()

    assert payloads == [line["payload"] for line in decoded(source, context.records)]
    assert {START} == {record.time for record in context.records}


async def test_a_row_has_the_columns_given(path: Path) -> None:
    reasons = await write(
        path, {"v": 1.5}, {"v": 'a,"b'}, {"v": None}, {"v": [True]}, format="csv", columns=COLUMNS
    )

    head, *rows = path.read_text().splitlines()
    assert ("time,sensor,value,site", []) == (head, reasons)
    assert [f"{START},t,{cell},home" for cell in ("1.5", '"a,""b"', "", "[true]")] == rows


async def test_the_header_stands_once(path: Path) -> None:
    await write(path, {"v": 1}, format="csv", columns={"v": "=payload.v"})
    await write(path, {"v": 2}, format="csv", columns={"v": "=payload.v"})

    assert "v\n1\n2\n" == path.read_text()


@pytest.mark.parametrize(
    ("payload", "given_options", "reason"),
    [
        pytest.param(
            {}, {"format": "csv", "columns": COLUMNS}, "column `value`", id="an expression that fails"
        ),
        pytest.param({"v": "a\nb"}, {"format": "csv", "columns": COLUMNS}, "a line break", id="a line break"),
        pytest.param(
            {"v": "a\rb"}, {"format": "csv", "columns": COLUMNS}, "a line break", id="a carriage return"
        ),
        pytest.param({"v": "\ud800"}, {"format": "csv", "columns": COLUMNS}, "surrogates", id="no Unicode"),
        pytest.param("\ud800", {}, "surrogates", id="no Unicode in JSON"),
        pytest.param({(1, 2): 3}, {}, "Only dicts with", id="a key that is no string"),
    ],
)
async def test_a_message_that_cannot_be_a_line_fails_alone(
    path: Path, payload: Any, given_options: dict[str, Any], reason: str
) -> None:
    reasons = await write(path, {"v": 1}, payload, {"v": 2}, **given_options)

    assert (1, True) == (len(reasons), reason in reasons[0])
    assert 2 == len([line for line in path.read_text().splitlines() if "site" not in line])


async def test_nothing_is_written_when_every_message_fails(path: Path) -> None:
    await write(path, "\ud800")

    assert not path.exists()


# Crashes


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(b"1\n2\nha", b"1\n2\n9\n", id="after whole lines"),
        pytest.param(b"ha", b"9\n", id="the first line"),
        pytest.param(b"1\n" + b"x" * 200_000, b"1\n9\n", id="a long one"),
        pytest.param(b"1\n", b"1\n9\n", id="none"),
        pytest.param(b"", b"9\n", id="an empty file"),
    ],
)
async def test_a_line_that_a_crash_cut_in_half_is_removed(path: Path, before: bytes, after: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(before)

    await write(path, 9, what="payload")

    assert after == path.read_bytes()


async def test_a_header_that_a_crash_cut_in_half_is_written_again(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"ti")

    await write(path, {"v": 1}, format="csv", columns={"time": "=payload.v"})

    assert "time\n1\n" == path.read_text()


async def test_every_batch_is_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    fsync = os.fsync

    def recording_fsync(file: int) -> None:
        fsync(file)
        synced.append(path.exists() and os.path.samestat(os.fstat(file), path.stat()))

    monkeypatch.setattr(os, "fsync", recording_fsync)
    node = make(path)

    await write_all(node, [message(1)])
    await write_all(node, [message(2)])

    assert [True, False, True] == synced  # the file, the directory with its new name, the file


# Rotation


async def test_a_file_does_not_grow_beyond_its_limit(path: Path) -> None:
    rotate = {"max_bytes": "6B", "keep": 2}

    await write(path, *range(10, 18), what="payload", rotate=rotate)

    files = {file.name: file.read_text() for file in path.parent.iterdir()}
    assert {"out.jsonl": "16\n17\n", "out.jsonl.1": "14\n15\n", "out.jsonl.2": "12\n13\n"} == files


async def test_a_line_longer_than_the_limit_has_a_file_of_its_own(path: Path) -> None:
    await write(path, 1, 1234567, 2, what="payload", rotate={"max_bytes": "4B"})

    files = {file.name: file.read_text() for file in path.parent.iterdir()}
    assert {"out.jsonl": "2\n", "out.jsonl.1": "1234567\n", "out.jsonl.2": "1\n"} == files


async def test_every_file_begins_with_the_header(path: Path) -> None:
    given_options = {"format": "csv", "columns": {"v": "=payload"}, "rotate": {"max_bytes": "6B"}}

    await write(path, 1, 2, 3, **given_options)
    await write(path, 4, 555555, **given_options)

    files = {file.name: file.read_text() for file in path.parent.iterdir()}
    assert {"out.jsonl": "v\n555555\n", "out.jsonl.1": "v\n3\n4\n", "out.jsonl.2": "v\n1\n2\n"} == files


async def test_a_rotation_that_a_crash_cut_short_loses_nothing(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("3\n")
    path.with_name("out.jsonl.2").write_text("1\n")  # was .1; the file itself was not renamed yet

    await write(path, 4, what="payload", rotate={"max_bytes": "2B", "keep": 3})

    files = {file.name: file.read_text() for file in path.parent.iterdir()}
    assert {"out.jsonl": "4\n", "out.jsonl.1": "3\n", "out.jsonl.3": "1\n"} == files


async def test_a_file_that_another_program_renamed_is_begun_anew(path: Path) -> None:
    node = make(path, what="payload")
    await write_all(node, [message(1)])
    path.rename(path.with_suffix(".old"))

    await write_all(node, [message(2)])

    assert ("1\n", "2\n") == (path.with_suffix(".old").read_text(), path.read_text())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 10**6), max_size=6), max_size=6), st.integers(1, 40))
def test_with_rotation_every_line_stands_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("rotation")
    appender = _appender.Appender(folder / "n", header=None, max_bytes=limit, keep=1000)
    lines = [[b"%d\n" % number for number in batch] for batch in batches]

    for batch in lines:
        appender.append(batch)

    def age(file: Path) -> int:
        return int(file.suffix[1:] or 0)

    files = [file.read_bytes() for file in sorted(folder.iterdir(), key=age, reverse=True)]
    assert b"".join(line for batch in lines for line in batch) == b"".join(files)
    assert [] == [file for file in files if len(file) > limit and file.count(b"\n") > 1]


# Disks that refuse


async def refused(path: Path, *payloads: Any, **given_options: Any) -> RetryLater:
    with pytest.raises(RetryLater) as error:
        await write(path, *payloads, **given_options)
    return error.value


async def test_a_full_disk_keeps_the_messages_and_leaves_no_half_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(path, 1, what="payload")
    written = os.write

    def short_write(file: int, data: Any) -> int:
        if len(data) < 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(file, data[:3])

    with monkeypatch.context() as full:
        full.setattr(os, "write", short_write)
        error = await refused(path, 22, 33, what="payload")

    assert (f"cannot write {path}: No space left on device", False) == (error.reason, error.operator)
    assert [22, 33] == [left.payload for left in error.remaining or ()]
    assert "1\n" == path.read_text()


async def test_only_what_is_not_on_the_disk_is_kept_for_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = os.fsync
    calls: list[int] = []

    def failing_fsync(file: int) -> None:
        calls.append(file)
        if len(calls) == 3:  # the first file, its directory, the second file
            raise OSError(errno.EIO, "Input/output error")
        synced(file)

    monkeypatch.setattr(os, "fsync", failing_fsync)
    error = await refused(path, 1, "\ud800", 2, 3, what="payload", rotate={"max_bytes": "2B"})

    assert [2, 3] == [left.payload for left in error.remaining or ()]
    assert ["1\n"] == [text for file in path.parent.iterdir() if (text := file.read_text())]


async def test_a_directory_in_place_of_the_file_needs_a_person(path: Path) -> None:
    path.mkdir(parents=True)

    error = await refused(path, 1)

    assert (True, f"cannot write {path}: Is a directory") == (error.operator, error.reason)


async def test_a_file_in_place_of_the_directory_needs_a_person(path: Path) -> None:
    path.parent.write_text("x")

    assert (await refused(path, 1)).operator


async def test_a_pipe_in_place_of_the_file_needs_a_person(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)

    error = await refused(path, 1)

    assert (True, f"{path} is not a regular file") == (error.operator, error.reason)


async def test_other_columns_are_not_mixed_into_a_file(path: Path) -> None:
    await write(path, {"v": 1}, format="csv", columns={"v": "=payload.v"})

    error = await refused(path, {"v": 1}, format="csv", columns={"w": "=payload.v"})

    assert (True, True) == (error.operator, "other columns" in error.reason)
    assert "v\n1\n" == path.read_text()


@pytest.mark.parametrize(
    ("given_options", "text"),
    [
        pytest.param({"format": "csv"}, "`format: csv` needs `columns`", id="csv without columns"),
        pytest.param({"columns": {"a": 1}}, "`columns` needs `format: csv`", id="columns without csv"),
        pytest.param(
            {"format": "csv", "columns": {"a": 1}, "what": "payload"},
            "exclude each other",
            id="csv of payloads",
        ),
        pytest.param(
            {"format": "csv", "columns": {"a\nb": 1}}, "line break", id="a column with a line break"
        ),
    ],
)
def test_options_that_do_not_fit_together_are_refused(given_options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        options(FileOut, path="x", **given_options)

    error = refusal.value.errors()[0]
    assert ("FR025", True) == (error["type"], text in error["ctx"]["text"])
