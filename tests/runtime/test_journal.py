"""The journal: what every journal promises, and what the one on disk adds."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import MappingProxyType

import pytest

from flowrunner import NANOSECONDS, JournalFull, Record
from flowrunner.clock import FlowClock
from flowrunner.runtime.journal import DiskJournal, Entry, Journal, MemoryJournal
from flowrunner.runtime.journal import entry as entry_module

START = 1_772_359_200 * NANOSECONDS
DAY = 86_400 * NANOSECONDS


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.wall = START
        self.seconds = 100.0

    def now(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.wall += int(seconds * NANOSECONDS)
        self.seconds += seconds


type Make = Callable[..., Journal]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def disk(clock: HandClock, tmp_path: Path) -> Make:
    def make(**options: float) -> DiskJournal:
        return DiskJournal(tmp_path / "journal", FlowClock(clock), clock, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture(params=["disk", "memory"])
async def journal(request: pytest.FixtureRequest, clock: HandClock, disk: Make) -> AsyncIterator[Journal]:
    if request.param == "disk":
        made: Journal = disk()
    else:
        made = MemoryJournal(FlowClock(clock), clock, max_bytes=2**20)
    await made.open()
    yield made
    await made.close()


def records(*texts: str, **fields: object) -> list[Record]:
    return [Record(text.encode(), **fields) for text in texts]  # type: ignore[arg-type]


def texts(entries: list[Entry]) -> list[str]:
    return [entry.data.decode() for entry in entries]


async def read_all(journal: Journal, after: int = 0, limit: int = 1024) -> list[Entry]:
    found: list[Entry] = []
    while entries := await journal.read(found[-1].seq if found else after, limit):
        found += entries
    return found


async def fill(journal: Journal, count: int, *, size: int = 20_000) -> None:
    """Append records that no compression makes smaller, each with its number as the cursor."""
    chance = random.Random(journal.last)
    for _ in range(count):
        await journal.append("a", [Record(chance.randbytes(size))], journal.last + 1)


def damage(path: Path, offset: int, count: int = 64) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        found = file.read(count)
        file.seek(offset)
        file.write(bytes(byte ^ 0xFF for byte in found))


def files(tmp_path: Path, pattern: str = "journal-*.db") -> list[Path]:
    return sorted((tmp_path / "journal").glob(pattern))


class TestEveryJournal:
    async def test_entries_come_back_in_order_with_all_that_a_record_says(
        self, journal: Journal, clock: HandClock
    ) -> None:
        past = START - DAY
        meta = MappingProxyType({"qos": 1})
        await journal.append("a", [Record(b"1", "t", past, meta), Record(b"2")])
        await journal.append("b", records("3"))

        assert await read_all(journal) == [
            Entry(1, START, "a", b"1", "t", past, {"qos": 1}),
            Entry(2, START, "a", b"2", "", START, None),
            Entry(3, START, "b", b"3", "", START, None),
        ]
        assert (journal.last, journal.pending) == (3, 0)

    async def test_a_reader_gets_no_more_than_it_asks_for(self, journal: Journal) -> None:
        for number in range(10):
            await journal.append("a", records(f"{number}a", f"{number}b", f"{number}c"))

        assert texts(await journal.read(4, 2)) == ["1b", "1c"]
        assert [len(await journal.read(after, 7)) for after in (0, 7, 28, 30)] == [7, 7, 2, 0]

    async def test_cursors_are_those_of_the_last_append_and_nobody_can_change_them(
        self, journal: Journal
    ) -> None:
        cursor = {"offset": 3}
        await journal.append("a", records("1"), cursor)
        await journal.append("b", [], [1, 2])
        await journal.append("a", records("2"))
        cursor["offset"] = 4
        journal.cursors["a"]["offset"] = 5

        assert journal.cursors == {"a": {"offset": 3}, "b": [1, 2]}

    async def test_the_flow_clock_never_goes_back_when_the_wall_clock_does(
        self, journal: Journal, clock: HandClock
    ) -> None:
        await journal.append("a", records("1"))
        clock.advance(1)
        clock.wall -= DAY
        await journal.append("a", records("2"))
        clock.advance(1)
        await journal.append("a", records("3"))
        clock.wall += 3 * DAY
        await journal.append("a", records("4"))

        entries = await read_all(journal)
        second = NANOSECONDS
        assert [entry.clock - START for entry in entries] == [0, second // 2, second, 2 * DAY + 2 * second]
        assert [entry.time - START for entry in entries] == [
            0,
            second - DAY,
            2 * second - DAY,
            2 * DAY + 2 * second,
        ]

    async def test_a_record_that_replays_the_past_sets_the_flow_clock_but_not_back(
        self, journal: Journal
    ) -> None:
        await journal.append("file", records("1", clock=50) + records("2", clock=90) + records("3", clock=70))

        assert [entry.clock for entry in await read_all(journal)] == [50, 90, 90]
        assert journal.clock == 90

    async def test_after_a_tick_no_record_is_stamped_earlier(self, journal: Journal) -> None:
        assert journal.tick(START + 7) == START + 7
        await journal.append("a", records("1"))

        assert (await journal.read(0))[0].clock == START + 7
        assert journal.clock == START + 7

    async def test_wait_returns_when_there_is_something_to_read(self, journal: Journal) -> None:
        calls: list[int] = []
        journal.on_commit = lambda: calls.append(journal.last)
        waiting = asyncio.ensure_future(journal.wait(1))
        await journal.append("a", records("1"))
        await asyncio.sleep(0)
        assert not waiting.done()
        await journal.append("a", records("2"))

        await asyncio.wait_for(waiting, 5)
        assert calls == [1, 2]

    async def test_room_returns_after_a_release(self, journal: Journal) -> None:
        await journal.append("a", records("1"))
        waiting = asyncio.ensure_future(journal.room())
        await asyncio.sleep(0)
        journal.release(1)

        await asyncio.wait_for(waiting, 5)
        assert journal.oldest_clock == 0

    async def test_the_oldest_clock_is_that_of_the_first_entry_not_released(
        self, journal: Journal, clock: HandClock
    ) -> None:
        assert (journal.first, journal.oldest_clock) == (0, 0)
        for _ in range(3):
            await journal.append("a", records("x"))
            clock.advance(1)
        assert (journal.first, journal.oldest_clock) == (1, START)
        room = asyncio.ensure_future(journal.room())
        await asyncio.sleep(0)
        journal.release(2)
        await room

        assert journal.oldest_clock == START + 2 * NANOSECONDS
        assert journal.bytes > 0

    async def test_a_clock_beyond_all_time_is_refused(self, journal: Journal) -> None:
        with pytest.raises(ValueError, match="out of range"):
            journal.append("a", records("1", clock=2**63))
        await journal.append("a", records("2"))
        assert texts(await read_all(journal)) == ["2"]

    async def test_full_means_nothing_taken_until_something_is_released(self, journal: Journal) -> None:
        if isinstance(journal, DiskJournal):
            await journal.close()
            journal = DiskJournal(
                journal._spool._directory, journal._stamper._flow_clock, HandClock(), max_bytes=2**20
            )
            await journal.open()
        with pytest.raises(JournalFull, match="cap of 1048576 bytes"):
            await fill(journal, 100, size=40_000)
        taken = journal.last
        assert (journal.last, journal.cursors) == (taken, {"a": taken})
        assert taken > 10

        room = asyncio.ensure_future(journal.room())
        await asyncio.sleep(0)
        journal.release(taken)
        await asyncio.wait_for(room, 5)
        await journal.append("a", records("after"))
        assert texts(await journal.read(taken)) == ["after"]
        assert journal.bytes <= 2**20
        await journal.close()


class TestDisk:
    async def test_all_that_was_committed_is_there_after_a_restart(
        self, disk: Make, clock: HandClock
    ) -> None:
        journal = disk()
        await journal.open()
        await journal.append("a", records("1", "2", meta={"retain": True}), {"at": 2})
        first = await read_all(journal)
        await journal.close()
        clock.wall -= DAY
        journal = disk()
        await journal.open()

        assert first == await read_all(journal)
        assert (journal.first, journal.last, journal.cursors) == (1, 2, {"a": {"at": 2}})
        assert journal.bytes > 0
        await journal.append("a", records("3"))
        assert (await journal.read(2))[0].clock >= first[-1].clock
        await journal.close()

    async def test_what_gathers_during_a_commit_becomes_one_row(self, disk: Make, tmp_path: Path) -> None:
        journal = disk()
        await journal.open()
        futures = [journal.append("a", records(str(number))) for number in range(50)]
        assert journal.pending == 50
        await asyncio.gather(*futures)
        assert journal.pending == 0
        await journal.close()

        connection = sqlite3.connect(files(tmp_path)[0])
        assert connection.execute("SELECT first, last FROM batches").fetchall() == [(1, 50)]
        connection.close()

    async def test_time_stops_short_of_a_record_that_is_being_committed(
        self, disk: Make, clock: HandClock
    ) -> None:
        journal = disk()
        await journal.open()
        future = journal.append("a", records("1"))

        assert journal.tick(START + 5) == START - 1
        await asyncio.sleep(0)
        assert journal.tick(START + 5) == START - 1
        await future
        assert journal.tick(START + 5) == START + 5
        await journal.close()

    async def test_a_reader_far_behind_reads_the_disk_in_pieces(
        self, disk: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("flowrunner.runtime.journal.lookup._TAIL_BYTES", 2_000)
        monkeypatch.setattr("flowrunner.runtime.journal.lookup._READ_BYTES", 100)
        journal = disk()
        await journal.open()
        expected = [f"{number:04d}" for number in range(400)]
        for start in range(0, 400, 20):
            await journal.append("a", records(*expected[start : start + 20]))

        found = await read_all(journal, limit=7)
        assert texts(found) == expected
        assert [entry.seq for entry in found] == list(range(1, 401))
        assert texts(await journal.read(3, 2)) == expected[3:5]
        await journal.close()

    async def test_large_appends_are_kept_in_rows_of_bounded_size(
        self, disk: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(entry_module, "_RUN_BYTES", 1_000)
        monkeypatch.setattr(entry_module, "_ROW_BYTES", 1_500)
        journal = disk()
        await journal.open()
        expected = [f"{number}-" + "x" * 300 for number in range(1100)]
        await journal.append("a", records(*expected))
        await journal.close()
        journal = disk()
        await journal.open()

        assert texts(await read_all(journal)) == expected
        await journal.close()

    async def test_records_that_cannot_be_written_down_harm_no_others(self, disk: Make) -> None:
        journal = disk()
        await journal.open()
        good = journal.append("a", records("good"))
        with pytest.raises(UnicodeEncodeError):
            journal.append("b", records("bad", topic="\ud800"))
        with pytest.raises(TypeError, match="type object"):
            journal.append("b", records("bad", meta={"x": object()}))
        with pytest.raises(OverflowError):
            journal.append("b", records("bad", time=2**70))
        await good

        assert texts(await read_all(journal)) == ["good"]
        assert (journal.last, journal.pending) == (1, 0)
        await journal.close()

    async def test_a_cancelled_wait_for_the_commit_does_not_undo_it(self, disk: Make) -> None:
        journal = disk()
        await journal.open()
        future = journal.append("a", records("1"))
        future.cancel()
        await journal.append("a", records("2"))

        assert texts(await read_all(journal)) == ["1", "2"]
        await journal.close()

    async def test_close_commits_what_is_pending_and_ends_the_journal(self, disk: Make) -> None:
        journal = disk()
        await journal.open()
        future = journal.append("a", records("1"))
        await journal.close()
        await journal.close()
        assert future.result() is None
        with pytest.raises(OSError, match="closed"):
            journal.append("a", records("2"))
        journal._lookup._tail.forget(1)  # type: ignore[attr-defined]
        with pytest.raises(OSError, match="closed"):
            await journal.read(0)

        journal = disk()
        await journal.open()
        assert texts(await read_all(journal)) == ["1"]
        await journal.close()

    async def test_who_waits_for_room_tries_again_after_a_while(
        self, disk: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A disk that is full is not emptied by a release."""
        monkeypatch.setattr("flowrunner.runtime.journal.disk._RETRY_SECONDS", 0.01)
        journal = disk()
        await journal.open()
        await asyncio.wait_for(journal.room(), 5)
        assert journal.bytes == 0
        await journal.close()

    async def test_a_journal_of_cursors_only_stays_one_file(self, disk: Make, tmp_path: Path) -> None:
        journal = disk(max_bytes=2**20)
        await journal.open()
        for number in range(300):
            await journal.append("a", [], "x" * number)
        assert journal.damaged.files == 0
        assert len(files(tmp_path)) == 1
        await journal.close()
        journal = disk(max_bytes=2**20)
        await journal.open()
        assert journal.cursors == {"a": "x" * 299}
        await journal.close()

    async def test_a_second_process_is_turned_away(self, disk: Make) -> None:
        first, second = disk(), disk()
        await first.open()
        with pytest.raises(Exception, match="in use by another process"):
            await second.open()
        await first.close()
        await second.open()
        assert second.last == 0
        await second.close()


class TestFiles:
    async def test_files_are_rotated_and_cursors_go_along(self, disk: Make, tmp_path: Path) -> None:
        journal = disk(max_bytes=2**22)
        await journal.open()
        await journal.append("calm", [], "kept")
        await fill(journal, 60)
        await journal.close()

        assert len(files(tmp_path)) >= 3
        journal = disk(max_bytes=2**22)
        await journal.open()
        assert [entry.seq for entry in await read_all(journal)] == list(range(1, 61))
        assert journal.cursors == {"calm": "kept", "a": 60}
        assert journal.bytes == sum(path.stat().st_size for path in files(tmp_path, "journal-*"))
        await journal.close()

    async def test_history_gives_way_before_anything_is_refused(self, disk: Make, tmp_path: Path) -> None:
        journal = disk(max_bytes=2**20)
        await journal.open()
        for _ in range(20):
            await fill(journal, 10)
            room = asyncio.ensure_future(journal.room())
            await asyncio.sleep(0)
            journal.release(journal.last)
            await room

        assert journal.last == 200
        assert 1 < journal.first < 200
        assert journal.bytes <= 2**20
        assert len(await read_all(journal, journal.first - 1)) == 201 - journal.first
        assert journal.damaged.entries == 0
        await journal.close()

    async def test_history_is_deleted_when_it_is_too_old_and_what_is_not_released_never(
        self, disk: Make, clock: HandClock, tmp_path: Path
    ) -> None:
        journal = disk(retention=80.0)
        await journal.open()
        for _ in range(12):
            await journal.append("a", records("x"))
            clock.advance(11)
        assert len(files(tmp_path)) > 6
        journal.release(2)
        await journal.append("a", records("x"))
        assert (journal.first, journal.last) == (3, 13)
        journal.release(13)
        await journal.append("a", records("x"))
        assert journal.first > 3
        clock.wall -= DAY
        journal.release(14)
        await journal.append("a", records("x"))
        assert len(await read_all(journal, journal.first - 1)) == 16 - journal.first
        await journal.close()

    @pytest.mark.parametrize("what", ["flip the middle", "truncate", "empty", "flip the header", "remove"])
    @pytest.mark.parametrize("which", [0, 1, -1], ids=["first", "second", "last"])
    async def test_a_broken_file_costs_only_itself_and_is_counted(
        self, disk: Make, tmp_path: Path, what: str, which: int
    ) -> None:
        journal = disk(max_bytes=2**22)
        await journal.open()
        await fill(journal, 70)
        await journal.close()
        path = files(tmp_path)[which]
        size = path.stat().st_size
        if what == "flip the middle":
            damage(path, size // 2, 20_000)
        elif what == "truncate":
            with path.open("r+b") as file:
                file.truncate(size // 3 // 8192 * 8192)
        elif what == "empty":
            path.write_bytes(b"")
        elif what == "flip the header":
            damage(path, 0)
        else:
            path.unlink()

        journal = disk(max_bytes=2**22)
        await journal.open()
        found = [entry.seq for entry in await read_all(journal)]
        await journal.append("a", records("new"))
        found += [entry.seq for entry in await read_all(journal, found[-1])]
        assert found == sorted(set(found))
        assert journal.last == found[-1]
        lost = journal.last - len(found)
        if which == -1 and what in ("empty", "flip the header", "truncate", "remove"):
            # Nobody knows any more how many there were: a checkpoint may, see below.
            assert journal.damaged.entries <= 70 - len(found) + 1
        else:
            assert lost > 0
            assert journal.damaged.entries == lost
        if what in ("empty", "flip the header"):
            assert journal.damaged.files == 1
            assert path.with_name(path.name + ".corrupt").exists()
        await journal.close()
        journal = disk(max_bytes=2**22)
        await journal.open()
        assert [entry.seq for entry in await read_all(journal)] == found
        await journal.close()

    async def test_a_row_with_a_wrong_checksum_is_left_out_and_counted(
        self, disk: Make, tmp_path: Path
    ) -> None:
        journal = disk()
        await journal.open()
        for number in range(6):
            await journal.append("a", records(f"{number}", f"{number}+"))
        await journal.close()
        connection = sqlite3.connect(files(tmp_path)[0])
        connection.execute("UPDATE batches SET data = zeroblob(40) WHERE first IN (3, 11)")
        connection.execute("UPDATE batches SET last = 900 WHERE first = 7")
        connection.commit()
        connection.close()

        journal = disk()
        await journal.open()
        assert [entry.seq for entry in await read_all(journal)] == [1, 2, 5, 6, 9, 10]
        assert journal.damaged.entries == 6
        await read_all(journal)
        assert journal.damaged.entries == 6
        await journal.append("a", records("new"))
        assert [(entry.seq, entry.data) for entry in await journal.read(10)] == [(13, b"new")]
        await journal.close()

    async def test_entries_that_turn_out_unreadable_do_not_make_the_reader_spin(
        self, disk: Make, tmp_path: Path
    ) -> None:
        journal = disk()
        await journal.open()
        await journal.append("a", records("1", "2"))
        await journal.append("a", records("3"))
        journal._lookup._tail.forget(3)  # type: ignore[attr-defined]
        spool = journal._spool  # type: ignore[attr-defined]
        await journal._worker.call(  # type: ignore[attr-defined]
            lambda: spool._segments[-1]._open().execute("UPDATE batches SET crc = 1 WHERE first = 3")
        )

        assert texts(await journal.read(0)) == ["1", "2"]
        assert await journal.read(2) == []
        assert (journal.last, journal.damaged.entries) == (2, 1)
        waiting = asyncio.ensure_future(journal.wait(2))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await journal.append("a", records("4"))
        await waiting
        assert [(entry.seq, entry.data) for entry in await journal.read(2)] == [(4, b"4")]
        assert journal.damaged.entries == 1
        await journal.close()

    async def test_a_checkpoint_that_knows_of_more_keeps_numbers_from_being_given_twice(
        self, disk: Make
    ) -> None:
        journal = disk()
        await journal.open()
        await journal.append("a", records("1"))
        journal.release(10)
        assert (journal.end, journal.damaged.entries) == (10, 0)
        await journal.append("a", records("2"))

        assert [entry.seq for entry in await read_all(journal, 10)] == [11]
        journal.append("a", records("3"))
        with pytest.raises(ValueError, match="cannot be released"):
            journal.release(20)
        await journal.close()

    async def test_a_journal_of_a_newer_flowrunner_is_left_alone(self, disk: Make, tmp_path: Path) -> None:
        journal = disk()
        await journal.open()
        await journal.append("a", records("1"))
        await journal.close()
        connection = sqlite3.connect(files(tmp_path)[0])
        connection.execute("PRAGMA user_version = 9")
        connection.execute("PRAGMA application_id = 9")
        connection.close()

        with pytest.raises(Exception, match=r"newer flowrunner \(format 9, this one reads 1\)"):
            await disk().open()
        assert len(files(tmp_path)) == 1

    async def test_a_file_that_was_being_made_is_forgotten(self, disk: Make, tmp_path: Path) -> None:
        (tmp_path / "journal").mkdir()
        (tmp_path / "journal" / "journal-0000000000000001.new").write_bytes(b"half")
        journal = disk()
        await journal.open()
        await journal.append("a", records("1"))
        assert texts(await read_all(journal)) == ["1"]
        assert files(tmp_path, "*.new") == []
        await journal.close()

    async def test_files_that_vanish_while_running_cost_only_what_was_in_them(
        self, disk: Make, tmp_path: Path
    ) -> None:
        journal = disk()
        await journal.open()
        await journal.append("a", records("1"))
        shutil.rmtree(tmp_path / "journal")
        await journal.append("a", records("2"))
        journal._lookup._tail.forget(2)  # type: ignore[attr-defined]

        assert [(entry.seq, entry.data) for entry in await read_all(journal)] == [(2, b"2")]
        assert (journal.damaged.files, journal.damaged.entries) == (1, 1)
        await journal.close()
