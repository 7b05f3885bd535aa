"""The pump: reads the journal, moves the flow clock, and runs the first stage.

Only the pump decides what time it is for a flow. While it is behind, the flow clock is the arrival time of the
record being processed; when it has caught up, it follows the wall clock from timer to timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from flowrunner.clock import NEVER, FlowClock
from flowrunner.context import Context
from flowrunner.errors import MessageError
from flowrunner.message import NANOSECONDS, NO_META, Message
from flowrunner.runtime.channel import Marker
from flowrunner.runtime.journal import Entry, Journal
from flowrunner.runtime.letters.letter import REPLAYED, Undecoded
from flowrunner.runtime.sources import DISK_PAUSE, SourceTask
from flowrunner.runtime.stage import SLICE, Ends, Outlet, Stage


class Pump:
    """Feeds one flow from its journal."""

    def __init__(
        self,
        journal: Journal,
        clock: FlowClock,
        sources: Mapping[str, SourceTask],
        outlets: Mapping[str, Outlet],
        stage: Stage,
        ends: Ends,
        *,
        next_due: Callable[[], int],
        on_marker: Callable[[Marker], Awaitable[None]],
        on_orphans: Callable[[Sequence[Entry]], None],
        room: Callable[[], Awaitable[None]],
        on_lost: Callable[[int], None],
        on_replays: Callable[[Sequence[Entry]], None],
    ) -> None:
        self.position = 0
        """Journal position up to which the flow has come."""
        self.clock = 0
        """The flow clock: nanoseconds since the epoch."""
        self.pumped: dict[str, int] = {}
        """Records read from the journal, by source; goes on over restarts."""
        self.recovered = 0
        """Up to this position the records came in before the flow was started: counted when they are read."""
        self.lost = 0
        """Records that came in since the flow was started and that the journal cannot give back."""
        self.caught_up = False
        self._journal = journal
        self._flow_clock = clock
        self._sources = sources
        self._outlets = outlets
        self._stage = stage
        self._ends = ends
        self._next_due = next_due
        self._on_marker = on_marker
        self._on_orphans = on_orphans
        self._room = room
        self._on_lost = on_lost
        self._on_replays = on_replays
        self._step = 0
        self._marked = 0
        self._marker: int | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._woken = False
        self._drained: asyncio.Future[None] | None = None
        self._halting = False
        self._stepping = False
        self._stepped: asyncio.Future[None] | None = None

    @property
    def step(self) -> int:
        """The number of the last step."""
        return self._step

    @property
    def changed(self) -> bool:
        """Whether anything has moved since the last marker."""
        return self._step != self._marked

    @property
    def backlog(self) -> int:
        """Records from before the start that have not been read yet."""
        return max(0, self.recovered - self.position)

    async def run(self) -> None:
        """Pump until cancelled or halted."""
        self._halting = self._stepping = False
        try:
            await self._ends.room()
            while not self._halting:
                await self._turn()
        finally:
            self._between_steps()

    async def _turn(self) -> None:
        """Do what is next: a marker, a step, or waiting for either."""
        self._woken = False
        if self._marker is not None:
            await self._mark(self._marker)
        try:
            entries = await self._read()
        except OSError:
            await asyncio.sleep(DISK_PAUSE)  # the journal says why it is not ready
            return
        if entries:
            self.caught_up = False
            await self._process(entries)
        elif self.clock < self._next_due() <= (now := self._now()):
            await self._tick(now)
        else:
            self.caught_up = True
            if self._drained is not None and not self._drained.done():
                self._drained.set_result(None)
            await self._wait()

    async def _read(self) -> Sequence[Entry]:
        """Return the next records; pass over those that are lost."""
        entries = await self._journal.read(self.position, SLICE)
        following = entries[0].seq if entries else self._journal.end + 1
        if following > self.position + 1:
            self._pass_over(following - 1)
        return entries

    def _pass_over(self, upto: int) -> None:
        count = upto - self.position
        self.lost += upto - max(self.position, min(upto, self.recovered))
        self.position = upto
        self._marked = -1  # a checkpoint must know of it
        self._on_lost(count)

    def wake(self) -> None:
        """Look again: there are new records, a marker is wanted, or a timer was set."""
        self._woken = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def want_marker(self, checkpoint: int) -> None:
        """Send a checkpoint marker before anything else."""
        self._marker = checkpoint
        self.wake()

    async def halt(self) -> None:
        """Return between two steps, and begin no other: :meth:`run` may then be cancelled, and be called again."""
        self._halting = True
        self.wake()
        if self._stepping:
            self._stepped = asyncio.get_running_loop().create_future()
            await self._stepped

    def rewire(
        self, sources: Mapping[str, SourceTask], outlets: Mapping[str, Outlet], stage: Stage, ends: Ends
    ) -> None:
        """Go on with the parts of another version of the flow; to be called between two steps."""
        self._sources, self._outlets, self._stage, self._ends = sources, outlets, stage, ends

    async def drain(self) -> None:
        """Return when everything that is in the journal now has been sent on."""
        while self._journal.pending or self.position < self._journal.last or not self.caught_up:
            self._drained = asyncio.get_running_loop().create_future()
            self.wake()
            await self._drained

    def count(self, context: Context, entries: Sequence[Entry]) -> None:
        """Count records that have been read from the journal for the one who brought them in."""
        self.pumped[context.node] = self.pumped.get(context.node, 0) + len(entries)
        if entries[0].seq <= self.recovered:
            context.counters.received += sum(entry.seq <= self.recovered for entry in entries)

    async def _process(self, entries: Sequence[Entry]) -> None:
        self._stepping = True
        self._decode(entries)
        last = entries[-1]
        self.position = last.seq
        await self._advance(last.clock)

    async def _tick(self, clock: int) -> None:
        """Move the flow clock without a record; never past one that is being committed."""
        allowed = self._journal.tick(clock)
        if allowed <= self.clock:
            await self._journal.wait(self.position)
            return
        await self._advance(allowed)

    async def _advance(self, clock: int) -> None:
        self._stepping = True
        self._step += 1
        self.clock = max(self.clock, clock)
        await self._stage.advance(self.clock)
        self._ends.flush(self._step, self.clock)
        self._between_steps()
        await self._ends.room()
        await self._room()

    def _between_steps(self) -> None:
        self._stepping = False
        if self._stepped is not None and not self._stepped.done():
            self._stepped.set_result(None)

    def _now(self) -> int:
        """Return how far the flow clock may go: with the data while a source replays the past, else with the wall.

        When every source replayed the past and has finished, the timers that are left fire at once.
        """
        if self._replaying():
            return self.clock
        due = self._next_due()
        past = self._sources and all(source.node.drives_clock for source in self._sources.values())
        return due if past and due != NEVER else self._flow_clock.now()

    def _replaying(self) -> bool:
        """Return whether the flow clock moves with the data only."""
        return any(source.node.drives_clock and not source.finished for source in self._sources.values())

    async def _mark(self, checkpoint: int) -> None:
        self._marker = None
        self._marked = self._step
        marker = Marker(checkpoint, self._step, self.clock)
        await self._on_marker(marker)
        self._ends.mark(marker)

    async def _wait(self) -> None:
        """Sleep until woken or until the next timer is due."""
        if self._woken:
            return
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        due = self._next_due()
        handle = None
        # A stage that is behind wakes us when it has caught up, and the next record when time stands still.
        if self.clock < due < NEVER and not self._replaying():
            handle = loop.call_later(max(0.0, (due - self._now()) / NANOSECONDS), self.wake)
        try:
            await self._waiter
        finally:
            if handle is not None:
                handle.cancel()

    def _decode(self, entries: Sequence[Entry]) -> None:
        """Make messages of the records and send them down the wires of their sources."""
        start = 0
        for end in range(1, len(entries) + 1):
            if end == len(entries) or entries[end].node != entries[start].node:
                self._decode_run(entries[start].node, entries[start:end])
                start = end

    def _decode_run(self, name: str, entries: Sequence[Entry]) -> None:
        if name == REPLAYED:
            self._on_replays(entries)
            return
        source = self._sources.get(name)
        if source is None:
            self._on_orphans(entries)
            return
        context, decode, traces = source.context, source.node.decode, source.context.traces
        self.count(context, entries)
        out: list[Message] = []
        for entry in entries:
            meta = entry.meta or NO_META
            if entry.trace is not None and traces is not None:
                traces.arrived(name, entry.trace, entry.seq, entry.clock)
            try:
                payload = decode(entry.data)
            except MessageError as error:
                raw = entry.data.decode("utf-8", "backslashreplace")
                failed = Undecoded(entry.topic, raw, entry.time, meta, entry.clock, entry.seq, entry.data)
                context.fail(failed, str(error))
            else:
                out.append(Message(entry.topic, payload, entry.time, meta, entry.clock, entry.seq))
        self._outlets[name].settle(out)
