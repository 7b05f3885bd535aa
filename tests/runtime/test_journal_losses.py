"""What a flow makes of a journal that fails: books that balance, retries that end, nothing tried for ever."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from flowrunner import JournalFull, Record, SystemClock
from flowrunner.clock import FlowClock
from flowrunner.runtime import sources as sources_module
from flowrunner.runtime.journal import DiskJournal, MemoryJournal
from flowrunner.runtime.journal import segment as segment_module
from flowrunner.runtime.sources import JournalContext
from flowrunner.runtime.storage import FlowSettings, Storage
from flowrunner.testing import VirtualClock, run_virtual
from tests.nodes.harness import RecordingLog
from tests.runtime.flows import START, FlowBuilder, record, running


def on_disk(folder: Path, max_bytes: int) -> DiskJournal:
    clock = SystemClock()
    return DiskJournal(folder, FlowClock(clock), clock, max_bytes=max_bytes)


def context_of(journal: Any) -> JournalContext:
    return JournalContext(journal, "flow", "a", log=RecordingLog(), clock=SystemClock())


@pytest.mark.parametrize("kind", ["disk", "memory"])
class TestLargerThanTheJournal:
    def make(self, kind: str, tmp_path: Path) -> Any:
        clock = SystemClock()
        if kind == "disk":
            return on_disk(tmp_path, 2**18)
        return MemoryJournal(FlowClock(clock), clock, max_bytes=2**18)

    async def test_a_record_is_refused_and_counted_and_those_with_it_are_taken(
        self, kind: str, tmp_path: Path
    ) -> None:
        journal = self.make(kind, tmp_path)
        await journal.open()
        context = context_of(journal)
        large = Record(b'"' + b"x" * 2**18 + b'"')
        await context.emit_records([Record(b"1"), large, Record(b"2")], cursor=3)
        await asyncio.sleep(0)

        assert [b"1", b"2"] == [entry.data for entry in await journal.read(0)]
        assert (3, {"too_large": 1}) == (context.counters.received, context.counters.dropped)
        assert {"a": 3} == journal.cursors
        assert ["dropped records that are larger than the journal may be; raise JOURNAL_MAX_BYTES"] == [
            event
            for _, event, _ in context.log.lines  # type: ignore[attr-defined]
        ]
        await journal.close()

    async def test_records_that_are_so_together_are_taken_when_there_is_nothing_else(
        self, kind: str, tmp_path: Path
    ) -> None:
        journal = self.make(kind, tmp_path)
        await journal.open()
        context = context_of(journal)
        await context.emit_records([Record(b"first")])
        many = [Record(b"%d " % number + b"x" * 50_000) for number in range(10)]
        with pytest.raises(JournalFull):
            context.post(many)
        posting = asyncio.ensure_future(context.emit_records(many))
        await asyncio.sleep(0.01)
        assert not posting.done()
        journal.release(1)

        await asyncio.wait_for(posting, 5)
        assert (11, 11, {}) == (journal.last, context.counters.received, context.counters.dropped)
        await journal.close()


async def test_a_hundred_thousand_records_do_not_hold_up_the_event_loop(tmp_path: Path) -> None:
    journal = on_disk(tmp_path, 2**30)
    await journal.open()
    context = context_of(journal)
    loop = asyncio.get_running_loop()
    lags: list[float] = []

    async def watch() -> None:
        while True:
            before = loop.time()
            await asyncio.sleep(0.001)
            lags.append(loop.time() - before)

    watching = asyncio.create_task(watch())
    await context.emit_records([Record(b'{"temperature": 20.5}', "a/b")] * 100_000)
    watching.cancel()

    assert 100_000 == journal.last
    assert sorted(lags)[len(lags) * 99 // 100 - 1] < 0.1
    await journal.close()


async def test_a_failed_commit_is_tried_again_by_the_journal_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook that was refused may never come again: the journal must find out alone that the disk is back."""
    monkeypatch.setattr("flowrunner.runtime.journal.disk._RETRY_SECONDS", 0.02)
    journal = on_disk(tmp_path, 2**30)
    await journal.open()
    await journal.append("a", [Record(b"1")], 1)
    tries = []

    def refuse(*_: object) -> None:
        tries.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(segment_module.Segment, "insert", refuse)
        with pytest.raises(JournalFull):
            await journal.append("a", [Record(b"2")], 2)
        while len(tries) < 4:
            await asyncio.sleep(0.01)
        assert journal.error is not None
        assert "No space left" in journal.error

    async with asyncio.timeout(5):
        while journal.error is not None:
            await asyncio.sleep(0.01)
    assert (1, {"a": 1}) == (journal.last, journal.cursors)
    await journal.close()


def test_a_journal_that_cannot_be_read_is_waited_for_and_the_flow_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        settings = FlowSettings(state_dir=tmp_path, checkpoint_every=1.0)
        storage = Storage("flow", "journal", settings, VirtualClock(START))
        await storage.open()
        graph = FlowBuilder(delivery="journal").source("a").sink("b", "a").graph()
        failed = sqlite3.OperationalError("disk I/O error")
        failed.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ

        def refuse(*_: object) -> None:
            raise failed

        monkeypatch.setattr("flowrunner.runtime.journal.lookup._TAIL_BYTES", 0)
        async with running(graph, storage=storage) as flow:
            with monkeypatch.context() as patch:
                patch.setattr(segment_module.Segment, "read", refuse)
                flow.runner.journal._lookup._tail._max_bytes = 0  # type: ignore[attr-defined]
                await flow.feed("a", record(1))
                await asyncio.sleep(3)
                assert [] == flow.payloads("b")
                assert "cannot be read: [Errno 5] disk I/O error" == flow.runner.journal.error
            await asyncio.sleep(2 * sources_module.DISK_PAUSE)

            assert [1] == flow.payloads("b")
            assert flow.runner.journal.error is None
        await storage.close()

    run_virtual(scenario())


def storage_of(folder: Path) -> Storage:
    return Storage("f", "journal", FlowSettings(state_dir=folder), VirtualClock(START))


def test_records_lost_while_the_flow_was_away_are_in_the_books(tmp_path: Path) -> None:
    async def scenario() -> None:
        graph = FlowBuilder("f", delivery="journal").source("a").sink("b", "a").graph()
        storage = storage_of(tmp_path)
        await storage.open()
        async with running(graph, storage=storage) as flow:
            await flow.feed("a", *[record(number) for number in range(10)])
            await asyncio.sleep(3)
        await storage.journal.append("a", [record(number) for number in range(10, 17)])
        await storage.close()
        for path in (tmp_path / "flows" / "f" / "journal").glob("journal-*"):
            path.unlink()

        storage = storage_of(tmp_path)
        await storage.open()
        async with running(graph, storage=storage) as flow:
            await asyncio.sleep(3)
            await flow.feed("a", record(17))
            await asyncio.sleep(3)
            books = flow.runner.ledger
            assert [17] == flow.payloads("b")
            assert ({"journal_damaged": 7}, 0, 0) == (books.dropped, books.balance, books.held)
            assert (18, 11) == (books.received, books.written)
            assert 7 == storage.journal.damaged.entries
        async with running(graph, storage=storage) as flow:
            assert ({"journal_damaged": 7}, 0) == (flow.runner.ledger.dropped, flow.runner.ledger.balance)
        await storage.close()

    run_virtual(scenario())


def test_records_lost_while_the_flow_runs_are_in_the_books(tmp_path: Path) -> None:
    async def scenario() -> None:
        graph = (
            FlowBuilder("f", delivery="journal").source("a").sink("b", "a", buffer={"capacity": 1}).graph()
        )
        storage = storage_of(tmp_path)
        await storage.open()
        journal: Any = storage.journal
        async with running(graph, storage=storage) as flow:
            flow.sink("b").gate.clear()
            for number in range(2000):
                await flow.feed("a", record(number))
            behind = 2000 - flow.runner.pump.position
            assert behind > 10
            spool = journal._spool
            await journal._worker.call(
                lambda: spool._segments[-1]._open().execute("UPDATE batches SET crc = 1 WHERE first > 1990")
            )
            journal._lookup._tail.forget(2000)
            flow.sink("b").gate.set()
            await asyncio.sleep(3)

            books = flow.runner.ledger
            assert ({"journal_damaged": 10}, 0, 0) == (books.dropped, books.balance, books.held)
            assert (2000, 1990) == (books.received, books.written)
            await flow.feed("a", record("on"))
            await asyncio.sleep(1)
            assert "on" == flow.payloads("b")[-1]
        async with running(graph, storage=storage) as flow:
            books = flow.runner.ledger
            assert (2001, {"journal_damaged": 10}, 0) == (books.received, books.dropped, books.balance)
        await storage.close()

    run_virtual(scenario())
