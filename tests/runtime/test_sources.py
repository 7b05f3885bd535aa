"""The task around a source: started again after a failure, stopped when asked, patient with a full journal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flowrunner import JournalFull, NodeFailed, NodeOptions, Record, Source, node_type
from flowrunner.clock import FlowClock
from flowrunner.context import Connection, ConnectionContext
from flowrunner.options import Options
from flowrunner.runtime.journal import MemoryJournal
from flowrunner.runtime.sources import JournalContext, SourceTask, run_connection
from flowrunner.runtime.storage import FlowSettings, Storage
from flowrunner.testing import VirtualClock, run_virtual
from tests.nodes.harness import RecordingLog
from tests.runtime.flows import START, FlowBuilder, record, running

Config = NodeOptions


@node_type("unsteady")
class Unsteady(Source[NodeOptions]):
    """Raises what a test wants, then runs until cancelled, or ends."""

    errors: list[Exception] = []  # noqa: RUF012  # shared with the test on purpose
    close_error: Exception | None = None
    ends = False

    def __init__(self, config: NodeOptions, context: Any) -> None:
        super().__init__(config, context)
        self.opened = 0

    async def open(self) -> None:
        self.opened += 1

    async def run(self) -> None:
        if self.errors:
            raise self.errors.pop(0)
        if not self.ends:
            await asyncio.Event().wait()

    async def close(self) -> None:
        if self.close_error is not None:
            raise self.close_error


@pytest.fixture(autouse=True)
def _as_it_was() -> Any:
    yield
    Unsteady.errors, Unsteady.close_error, Unsteady.ends = [], None, False


def _journal(max_bytes: int = 10_000) -> MemoryJournal:
    clock = VirtualClock(START)
    return MemoryJournal(FlowClock(clock), clock, max_bytes=max_bytes)


def _context(journal: Any) -> JournalContext:
    return JournalContext(journal, "flow", "a", log=RecordingLog(), clock=VirtualClock(START))


def _source(context: JournalContext) -> tuple[Unsteady, SourceTask, list[bool]]:
    node, ended = Unsteady(NodeOptions(type="unsteady"), context), list[bool]()
    return node, SourceTask(node, context, lambda: ended.append(True)), ended


@pytest.mark.parametrize(
    ("error", "status", "opened_after_a_second"),
    [
        (ValueError("bug"), ("degraded", "crashed: ValueError: bug; starting again"), 2),
        (NodeFailed("no such file"), ("failed", "no such file"), 1),
    ],
)
def test_a_source_that_raises_is_opened_and_run_again(
    error: Exception, status: tuple[str, str], opened_after_a_second: int
) -> None:
    Unsteady.errors = [error]

    async def scenario() -> None:
        context = _context(_journal())
        node, task, _ = _source(context)
        running_ = asyncio.create_task(task.run())
        await asyncio.sleep(0)
        assert status == (context.status, context.reason)
        await asyncio.sleep(1)
        assert opened_after_a_second == node.opened
        await asyncio.sleep(30)
        assert 2 == node.opened
        running_.cancel()
        await asyncio.wait({running_})

    run_virtual(scenario())


def test_a_source_that_ran_long_before_it_failed_is_started_again_soon() -> None:
    async def scenario() -> None:
        context = _context(_journal())
        node, task, _ = _source(context)
        starts: list[float] = []

        async def run() -> None:
            starts.append(asyncio.get_running_loop().time())
            await asyncio.sleep(60)
            raise ValueError("again")

        node.run = run  # type: ignore[method-assign]
        running_ = asyncio.create_task(task.run())
        await asyncio.sleep(1000)
        running_.cancel()
        await asyncio.wait({running_})

        assert len(starts) >= 16

    run_virtual(scenario())


def test_a_source_that_ends_says_so() -> None:
    Unsteady.ends = True

    async def scenario() -> None:
        context = _context(_journal())
        _, task, ended = _source(context)
        await task.run()

        assert (True, [True]) == (task.finished, ended)
        assert ("stopped", "no more input") == (context.status, context.reason)

    run_virtual(scenario())


def test_a_source_that_fails_while_it_is_stopped_does_not_start_again() -> None:
    Unsteady.close_error = OSError("the socket is gone")

    async def scenario() -> None:
        node, task, _ = _source(_context(_journal()))
        running_ = asyncio.create_task(task.run())
        await asyncio.sleep(1)
        running_.cancel()
        await asyncio.wait({running_}, timeout=100)

        assert running_.cancelled()
        assert 1 == node.opened

    run_virtual(scenario())


def test_a_flow_whose_source_hangs_in_close_is_stopped_within_its_time() -> None:
    async def scenario() -> None:
        graph = FlowBuilder().node("a", Unsteady).sink("s", "a").graph()
        async with running(graph) as flow:
            node = flow.runner.assembly.sources["a"].node

            async def close() -> None:
                await asyncio.Event().wait()

            node.close = close  # type: ignore[method-assign]
            await asyncio.sleep(1)
            stopped = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - stopped <= 5.0

    run_virtual(scenario())


def test_a_full_journal_is_waited_for_and_the_source_is_well_again() -> None:
    async def scenario() -> None:
        journal = _journal(max_bytes=500)
        context = _context(journal)
        context.report("running")
        await context.emit_records([record(1), record(2)])
        waiting = asyncio.create_task(context.emit_records([record(3)]))
        await asyncio.sleep(1)
        assert "degraded" == context.status
        journal.release(2)
        await waiting

        assert ("running", 3) == (context.status, context.counters.received)

    run_virtual(scenario())


def test_a_status_that_the_source_has_set_meanwhile_is_left_alone() -> None:
    async def scenario() -> None:
        journal = _journal(max_bytes=500)
        context = _context(journal)
        await context.emit_records([record(1), record(2)])
        waiting = asyncio.create_task(context.emit_records([record(3)]))
        await asyncio.sleep(1)
        context.report("failed", "the cable is out")
        journal.release(2)
        await waiting

        assert ("failed", "the cable is out") == (context.status, context.reason)

    run_virtual(scenario())


class BrokenDisk(MemoryJournal):
    """A journal whose next commits fail."""

    failures = 0

    def append(self, node: str, records: Any, cursor: Any = None) -> asyncio.Future[None]:
        if not self.failures:
            return super().append(node, records, cursor)
        self.failures -= 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(OSError(28, "No space left on device"))
        return future


def test_a_disk_that_fails_is_tried_again_and_what_it_did_not_take_is_not_counted() -> None:
    async def scenario() -> None:
        clock = VirtualClock(START)
        journal = BrokenDisk(FlowClock(clock), clock, max_bytes=10_000)
        journal.failures = 2
        context = _context(journal)
        waiting = asyncio.create_task(context.emit_records([record(1)]))
        await asyncio.sleep(1)
        assert ("degraded", 0) == (context.status, context.counters.received)
        assert "No space left" in (context.reason or "")
        await waiting

        assert ("running", 1, 1) == (context.status, context.counters.received, journal.last)

    run_virtual(scenario())


def test_records_on_their_way_to_the_disk_count_though_the_source_is_cancelled(tmp_path: Path) -> None:
    async def scenario() -> None:
        storage = Storage("f", "journal", FlowSettings(state_dir=tmp_path), VirtualClock(START))
        await storage.open()
        context = _context(storage.journal)
        emitting = asyncio.create_task(context.emit_records([record(1)]))
        await asyncio.sleep(0)
        emitting.cancel()
        await asyncio.wait({emitting})
        future = context.post([record(2)])
        future.cancel()
        await context.post([record(3)])
        await storage.close()

        assert (True, 3, 2) == (emitting.cancelled(), storage.journal.last, context.counters.received)

    run_virtual(scenario())


def test_a_journal_that_is_full_refuses_at_once() -> None:
    async def scenario() -> None:
        context = _context(_journal(max_bytes=10))
        await context.emit_records([Record(b"1")])
        await asyncio.sleep(0)
        with pytest.raises(JournalFull, match="cap of 10 bytes"):
            context.post([Record(b"2")])
        assert (1, None) == (context.counters.received, context.cursor)

    run_virtual(scenario())


class Line(Connection[Options]):
    """A connection that breaks once."""

    runs = 0

    async def run(self) -> None:
        self.runs += 1
        if self.runs == 1:
            raise ConnectionError("reset")
        self.context.report("running")


def test_a_connection_that_crashes_is_kept_up() -> None:
    async def scenario() -> None:
        context = ConnectionContext("flow", "line", VirtualClock(START), RecordingLog())
        line = Line(Options(), context)
        await run_connection(line)

        assert (2, True) == (line.runs, context.up)

    run_virtual(scenario())
