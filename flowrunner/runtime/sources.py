"""The task around a source or a connection, and the source's way into the journal."""

from __future__ import annotations

import asyncio
import traceback
from asyncio import Future
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from flowrunner.context import Connection, ConnectionContext, Context, SourceContext
from flowrunner.errors import JournalFull, NodeFailed
from flowrunner.message import Record
from flowrunner.node import Source
from flowrunner.runtime.backoff import OPERATOR_PAUSE, Backoff
from flowrunner.runtime.journal import Journal
from flowrunner.runtime.journal.entry import TooLargeError
from flowrunner.tracing.flow import FlowTraces

PART = 8192
"""Records that are handed to the journal at once: a hundredth of a second's work."""
DISK_PAUSE = 5.0
"""Seconds between two attempts to write to a disk that failed."""


class JournalContext(SourceContext):
    """The context of a source in a running flow."""

    def __init__(self, journal: Journal, flow: str, node: str, **context: Any) -> None:
        super().__init__(flow, node, **context)
        self._journal = journal
        self.traces: FlowTraces | None = None
        """What follows records, when traces are exported."""

    @property
    def cursor(self) -> Any:
        """What the source last committed."""
        return self._journal.cursors.get(self.node)

    def post(self, records: Sequence[Record], cursor: Any = None) -> Future[None]:
        """Hand records to the journal; the future is done when they are safe."""
        refused = 0
        records, arrival = (records, None) if self.traces is None else self.traces.receive(self.node, records)
        try:
            future = self._journal.append(self.node, records, cursor)
        except TooLargeError as error:
            kept = [record for record in records if len(record.data) <= error.max_bytes]
            refused = len(records) - len(kept)
            future = self._journal.append(self.node, kept, cursor)
        count = len(records)

        def received(done: Future[None]) -> None:
            # What the journal did not take is not in the flow: whoever sent it still has it.
            if not done.cancelled() and done.exception() is None:
                self.counters.received += count
                if refused:
                    self._refuse(refused)

        future.add_done_callback(received)
        if arrival is not None:
            future.add_done_callback(arrival.committed)
        return future

    def _refuse(self, count: int) -> None:
        self.counters.drop("too_large", count)
        self.log.error(
            "dropped records that are larger than the journal may be; raise JOURNAL_MAX_BYTES",
            flow=self.flow,
            node=self.node,
            records=count,
        )

    async def emit_records(self, records: Sequence[Record], cursor: Any = None) -> None:
        """Hand records to the journal and return when they are safe; wait while it is full.

        Many records without a cursor are handed over a part at a time: writing them down takes the event loop's time.
        """
        if cursor is None:
            while len(records) > PART:
                await self._emit(records[:PART], None)
                records = records[PART:]
        await self._emit(records, cursor)

    async def _emit(self, records: Sequence[Record], cursor: Any) -> None:
        trouble: str | None = None
        while True:
            try:
                # What is on its way to the disk gets there, even when the source is cancelled meanwhile.
                await asyncio.shield(self.post(records, cursor))
                if trouble is not None and self.reason == trouble:
                    self.report("running")
                return
            except JournalFull as error:
                trouble = str(error)
                self.report("degraded", trouble)
                await self._journal.room()
            except OSError as error:
                trouble = f"the journal cannot be written: {error}"
                self.report("degraded", trouble)
                await asyncio.sleep(DISK_PAUSE)


class Runnable(Protocol):
    """What :func:`keep_running` keeps running: a source or a connection."""

    async def run(self) -> None:
        """Work until cancelled or done."""


async def keep_running(task: Runnable, context: Context | ConnectionContext, log_as: dict[str, str]) -> None:
    """Run until it returns; start it anew after a failure, with growing pauses."""
    backoff = Backoff()
    loop = asyncio.get_running_loop()
    while True:
        started = loop.time()
        try:
            await task.run()
            return
        except NodeFailed as error:
            context.report("failed", str(error))
            pause = backoff.next(operator=True)
        except Exception as error:
            if (current := asyncio.current_task()) is not None and current.cancelling():
                raise asyncio.CancelledError from error  # it failed while it was being stopped
            context.log.error("node crashed", error=traceback.format_exc(), **log_as)
            if loop.time() - started > OPERATOR_PAUSE:
                backoff.reset()
            pause = backoff.next()
            context.report("degraded", f"crashed: {type(error).__name__}: {error}; starting again")
        await asyncio.sleep(pause)


class SourceTask:
    """Runs one source for the life of its flow."""

    def __init__(self, node: Source[Any], context: JournalContext, on_finished: Callable[[], None]) -> None:
        self.node = node
        self.context = context
        self.finished = False
        self._opened = _Opened(node)
        self._on_finished = on_finished

    async def prepare(self) -> None:
        """Open the source ahead of :meth:`run`; raises what it raises, and it is then closed."""
        await self._opened.begin()

    async def give_up(self) -> None:
        """Close a source that was prepared and is not run."""
        await self._opened.end()

    @property
    def open(self) -> bool:
        """Whether the source is open: between its ``open`` and its ``close``."""
        return self._opened.open

    async def run(self) -> None:
        """Run the source until cancelled or until it says that there will be no more."""
        await keep_running(self._opened, self.context, {"flow": self.context.flow, "node": self.context.node})
        self.finished = True
        self.context.report("stopped", "no more input")
        self._on_finished()


class _Opened:
    """A source between its ``open`` and ``close``."""

    def __init__(self, node: Source[Any]) -> None:
        self.open = False
        self._node = node
        self._context = node.context
        self._begun = False

    async def begin(self) -> None:
        """Open the source; close it again when that fails."""
        try:
            await self._node.open()
            self._begun = True
        finally:
            if not self._begun:
                await self._node.close()

    async def end(self) -> None:
        """Close the source."""
        self.open = self._begun = False
        await self._node.close()

    async def run(self) -> None:
        """Open, run, close."""
        if not self._begun:
            await self.begin()
        try:
            if self._context.status == "starting":
                self._context.report("running")
            self.open = True
            await self._node.run()
        finally:
            await self.end()


async def run_connection(connection: Connection[Any]) -> None:
    """Keep a connection's task running for the life of its flow."""
    context = connection.context
    await keep_running(connection, context, {"flow": context.flow, "connection": context.name})
