"""The journal when the disk fails and when the process is killed."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from flowrunner import JournalFull, Record, SystemClock
from flowrunner.clock import FlowClock
from flowrunner.runtime import database
from flowrunner.runtime.journal import DiskJournal, Entry
from flowrunner.runtime.journal import segment as segment_module


def make(folder: Path, **options: float) -> DiskJournal:
    clock = SystemClock()
    return DiskJournal(folder, FlowClock(clock), clock, **options)  # type: ignore[arg-type]


async def read_all(journal: DiskJournal, after: int = 0) -> list[Entry]:
    found: list[Entry] = []
    while entries := await journal.read(found[-1].seq if found else after):
        found += entries
    return found


async def noise(journal: DiskJournal, seed: int, size: int = 50_000) -> None:
    await journal.append("a", [Record(Random(seed).randbytes(size))], seed)


@pytest.fixture
def file_size_limit() -> Iterator[Callable[[int], None]]:
    """Let no file grow beyond some bytes: what a full disk is to a writer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestDiskErrors:
    async def test_a_full_disk_refuses_commits_until_there_is_room(
        self, tmp_path: Path, file_size_limit: Callable[[int], None]
    ) -> None:
        journal = make(tmp_path)
        await journal.open()
        await noise(journal, 1)
        file_size_limit(200_000)
        failed = 0
        for seed in range(2, 12):
            try:
                await noise(journal, seed)
            except (JournalFull, OSError):
                failed += 1
        assert failed > 5
        assert journal.error is not None
        committed = journal.last
        assert committed == 11 - failed
        assert journal.pending == 0
        found = await read_all(journal)
        assert [entry.seq for entry in found] == list(range(1, committed + 1))
        file_size_limit(resource.RLIM_INFINITY)
        await noise(journal, 99)
        assert journal.error is None
        assert journal.cursors == {"a": 99}
        await journal.close()

        journal = make(tmp_path)
        await journal.open()
        again = await read_all(journal)
        assert again[:-1] == found
        assert [entry.seq for entry in again] == list(range(1, committed + 2))
        assert (journal.damaged.files, journal.damaged.entries) == (0, 0)
        await journal.close()

    async def test_history_makes_room_on_a_full_disk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = make(tmp_path, max_bytes=2**21)
        await journal.open()
        for seed in range(20):
            await noise(journal, seed)
        journal.release(20)
        await journal._worker.call(lambda: None)  # type: ignore[union-attr]
        before = journal.first
        insert = segment_module.Segment.insert
        full = sqlite3.OperationalError("database or disk is full")
        full.sqlite_errorcode = sqlite3.SQLITE_FULL
        left = [2]

        def refuse(*arguments: object) -> None:
            if left[0]:
                left[0] -= 1
                raise full
            insert(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(segment_module.Segment, "insert", refuse)
        await noise(journal, 21)

        assert journal.last == 21
        assert journal.first > before
        await journal.close()

    async def test_everything_behind_a_failed_commit_fails_with_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = make(tmp_path)
        await journal.open()
        await journal.append("a", [Record(b"0")], 0)
        changes: list[int] = []
        journal.on_commit = lambda: changes.append(journal.last)

        def refuse(*arguments: object) -> None:
            time.sleep(0.05)
            raise OSError(errno.EIO, "the disk is on fire")

        with monkeypatch.context() as patch:
            patch.setattr(segment_module.Segment, "insert", refuse)
            first = journal.append("a", [Record(b"1")], 1)
            waiting = asyncio.ensure_future(journal.wait(1))
            await asyncio.sleep(0.01)
            second = journal.append("a", [Record(b"2")], 2)
            results = await asyncio.gather(first, second, return_exceptions=True)
        assert [str(result) for result in results] == ["[Errno 5] the disk is on fire"] * 2
        assert journal.error == "[Errno 5] the disk is on fire"
        await waiting
        assert changes == [1]

        await asyncio.gather(*[journal.append("a", [Record(b"%d" % number)], number) for number in (1, 2)])
        assert [(entry.seq, entry.data) for entry in await read_all(journal)] == [
            (1, b"0"),
            (2, b"1"),
            (3, b"2"),
        ]
        assert journal.error is None
        assert journal.cursors == {"a": 2}
        await journal.close()

    async def test_a_commit_that_failed_but_reached_the_disk_is_taken_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An error of fsync after the last write: whether the commit is there nobody knows."""
        journal = make(tmp_path)
        await journal.open()
        await journal.append("a", [Record(b"1")], 1)
        with monkeypatch.context() as patch:

            def lie(name: str) -> int:
                raise OSError(errno.EIO, "fsync failed")

            patch.setattr(database, "file_bytes", lie)
            with pytest.raises(OSError, match="fsync failed"):
                await journal.append("a", [Record(b"2"), Record(b"3")], 3)
        assert (journal.last, journal.cursors) == (1, {"a": 1})
        await journal.append("b", [Record(b"4")])
        shutil.copytree(tmp_path, tmp_path / "copy")
        await journal.close()

        for folder in (tmp_path, tmp_path / "copy"):
            journal = make(folder)
            await journal.open()
            assert [(entry.seq, entry.data) for entry in await read_all(journal)] == [(1, b"1"), (2, b"4")]
            assert journal.cursors == {"a": 1}
            await journal.close()

    async def test_a_file_that_breaks_while_it_is_written_is_left_for_a_new_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = make(tmp_path)
        await journal.open()
        await journal.append("a", [Record(b"1")], 1)
        broken = sqlite3.DatabaseError("database disk image is malformed")
        broken.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        insert = segment_module.Segment.insert

        def refuse(segment: segment_module.Segment, *arguments: object) -> None:
            if segment.first == 1:
                raise broken
            insert(segment, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(segment_module.Segment, "insert", refuse)
        await journal.append("b", [Record(b"2")])

        assert [(entry.seq, entry.data) for entry in await read_all(journal)] == [(1, b"1"), (2, b"2")]
        assert journal.cursors == {"a": 1}
        assert sorted(path.name for path in tmp_path.glob("*.db")) == [
            "journal-0000000000000001.db",
            "journal-0000000000000002.db",
        ]
        await journal.close()

    async def test_a_disk_that_cannot_be_read_is_an_error_and_not_a_loss(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = make(tmp_path)
        await journal.open()
        await journal.append("a", [Record(b"1")])
        journal._lookup._tail.forget(1)
        failed = sqlite3.OperationalError("disk I/O error")
        failed.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ

        def refuse(*arguments: object) -> None:
            raise failed

        with monkeypatch.context() as patch:
            patch.setattr(segment_module.Segment, "read", refuse)
            with pytest.raises(OSError, match="disk I/O error"):
                await journal.read(0)
        assert [entry.seq for entry in await journal.read(0)] == [1]
        assert journal.damaged.entries == 0
        await journal.close()

        with monkeypatch.context() as patch:
            patch.setattr(segment_module.Segment, "scan", refuse)
            with pytest.raises(OSError, match="disk I/O error"):
                await make(tmp_path).open()
        await journal.open()
        assert journal.last == 1
        await journal.close()

    async def test_a_directory_that_cannot_be_made_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(OSError, match="file"):
            await make(tmp_path / "file" / "journal").open()

    async def test_close_does_not_wait_for_a_disk_that_hangs(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("flowrunner.runtime.journal.disk._CLOSE_SECONDS", 0.05)
        monkeypatch.setattr(segment_module.Segment, "insert", lambda *_: time.sleep(0.3))
        journal = make(tmp_path)
        await journal.open()
        first = journal.append("a", [Record(b"1")])
        await asyncio.sleep(0.01)
        second = journal.append("a", [Record(b"2")])
        started = time.monotonic()
        await journal.close()
        assert time.monotonic() - started < 0.25
        await asyncio.wait([first], timeout=5)
        with pytest.raises(OSError, match="closed"):
            await asyncio.wait_for(second, 5)


WRITER = """
import asyncio, os, sys
from pathlib import Path
from flowrunner import Record, SystemClock
from flowrunner.clock import FlowClock
from flowrunner.runtime.journal import DiskJournal

async def main():
    clock = SystemClock()
    journal = DiskJournal(Path(sys.argv[1]), FlowClock(clock), clock, max_bytes=2**22)
    await journal.open()
    tell = lambda *numbers: os.write(1, b"".join(b"%d\\n" % number for number in numbers))
    tell(journal.cursors.get("a", 0))
    number = journal.cursors.get("a", 0)
    async def post(size):
        nonlocal number
        first = number + 1
        number += size
        numbers = range(first, number + 1)
        await journal.append("a", [Record(b"%d " % n + os.urandom(200)) for n in numbers], number)
        journal.release(journal.last - 2000)
        tell(*numbers)
    while True:
        await asyncio.gather(*[post(size) for size in (1, 7, 30)])

asyncio.run(main())
"""


@pytest.mark.timeout(240)
def test_after_kill_9_every_acknowledged_record_is_there_fifty_times(tmp_path: Path) -> None:
    chance = Random(7)
    acknowledged = 0
    for _ in range(50):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            recovered = int(writer.stdout.readline())
            assert recovered >= acknowledged
            time.sleep(chance.uniform(0.0, 0.06))
            os.kill(writer.pid, signal.SIGKILL)
            lines = writer.stdout.read().splitlines(keepends=True)
        whole = [int(line) for line in lines if line.endswith(b"\n")]
        acknowledged = max(acknowledged, recovered, *whole, 0)
    entries = asyncio.run(_everything(tmp_path))

    numbers = [int(entry.data.split()[0]) for entry in entries]
    assert acknowledged > 500
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert numbers[-1] >= acknowledged
    assert [entry.clock for entry in entries] == sorted(entry.clock for entry in entries)


async def _everything(folder: Path) -> list[Entry]:
    journal = make(folder, max_bytes=2**22)
    await journal.open()
    entries = await read_all(journal, journal.first - 1)
    assert (journal.damaged.files, journal.damaged.entries) == (0, 0)
    await journal.close()
    return entries


async def test_torn_write_ahead_logs_lose_only_their_end(tmp_path: Path) -> None:
    """What a power cut leaves: the log ends anywhere. Nothing before the tear is lost, nothing is invented."""
    journal = make(tmp_path / "live")
    await journal.open()
    for number in range(30):
        await journal.append("a", [Record(b"%d" % number + b"x" * 300)], number)
    log = next((tmp_path / "live").glob("*-wal"))
    whole = log.read_bytes()
    lengths = [Random(1).randrange(len(whole)) for _ in range(12)] + [0, 31, 32, len(whole) - 1]
    copies: list[Path] = []
    for length in lengths:
        copy = tmp_path / f"torn-{len(copies)}"
        shutil.copytree(tmp_path / "live", copy)
        (copy / log.name).write_bytes(whole[:length])
        copies.append(copy)
    removed = tmp_path / "removed"
    shutil.copytree(tmp_path / "live", removed)
    (removed / log.name).unlink()
    flipped = tmp_path / "flipped"
    shutil.copytree(tmp_path / "live", flipped)
    (flipped / log.name).write_bytes(whole[: len(whole) // 2] + b"\0" * 64 + whole[len(whole) // 2 + 64 :])
    await journal.close()

    for copy in (*copies, removed, flipped):
        journal = make(copy)
        await journal.open()
        entries = await read_all(journal)
        assert [entry.data[:2].rstrip(b"x") for entry in entries] == [b"%d" % n for n in range(len(entries))]
        assert journal.cursors.get("a", -1) == len(entries) - 1
        await journal.append("a", [Record(b"new")])
        assert (await read_all(journal, len(entries)))[0].data == b"new"
        await journal.close()
