"""Checkpoints: a consistent cut through a running flow, without stopping it.

A marker travels through all channels. Each task that it passes hands in the state of its nodes; a sink hands in
its word that everything before the marker is accepted by the world or dead-lettered. When all have answered,
the journal position and the states are committed together: that is where a restart begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

from flowrunner.clock import Clock
from flowrunner.context import Logger
from flowrunner.counters import Counters
from flowrunner.errors import JournalFull
from flowrunner.graph.diff import state_shape
from flowrunner.message import NANOSECONDS
from flowrunner.runtime.assemble import Assembly, StageTask
from flowrunner.runtime.channel import Marker
from flowrunner.runtime.checkpoints.books import dump_counters
from flowrunner.runtime.checkpoints.state import Chunks, dump_state
from flowrunner.runtime.checkpoints.store import Checkpoint, Store
from flowrunner.runtime.journal import Journal
from flowrunner.runtime.ledger import kept_out
from flowrunner.runtime.letters.letter import DeadLetter
from flowrunner.runtime.pump import Pump
from flowrunner.runtime.stage import Step

EARLY_FLUSH = 256
"""Dead letters that wait for their checkpoint at the most: a sink that stalls keeps checkpoints waiting too."""
MOST_UNSAVED = 1024
"""Dead letters in memory at which the pump stops; what is under way behind it may still add to them."""
DISK_PAUSE = 5.0
"""Seconds between two attempts to store dead letters on a disk that failed."""
RETIRED = ""
"""The key under which the counters of nodes that are no longer in the flow are kept; not a valid node id."""


class _Cut:
    """What has come in for one checkpoint. The parts of one that was given up do not get into the next."""

    def __init__(self, number: int, tasks: Iterable[str]) -> None:
        self.number = number
        self.position = (0, 0)
        self.states: dict[str, Chunks] = {}
        self.versions: dict[str, int] = {}
        self.counters: dict[str, Any] = {}
        self.problem: str | None = None
        """Why it cannot be saved."""
        self.complete = asyncio.Event()
        self._missing = set(tasks)

    def answer(self, task: str) -> None:
        """Note that a task has handed in its part."""
        self._missing.discard(task)
        if not self._missing:
            self.complete.set()


class Checkpointer:
    """Takes the checkpoints of one flow."""

    def __init__(
        self,
        assembly: Assembly,
        pump: Pump,
        journal: Journal,
        store: Store,
        clock: Clock,
        log: Logger,
        retired: Counters,
    ) -> None:
        self.error: str | None = None
        """Why the last attempt to save failed; ``None`` when it did not."""
        self.dead_letters: list[DeadLetter] = []
        """Dead letters not yet on disk: they are committed with the next checkpoint, or before when they are many."""
        self.saved_at = clock.now()
        self.seconds = 0.0
        """How long the last checkpoint took from its marker to its commit."""
        self._assembly = assembly
        self._pump = pump
        self._journal = journal
        self._store = store
        self._clock = clock
        self._log = log
        self._retired = retired
        self._saving = asyncio.Lock()
        self._many = asyncio.Event()
        self._saved = asyncio.Event()
        self._cut = _Cut(0, ())
        self._released = 0

    async def run(self, every: float, *, now: bool = False) -> None:
        """Take a checkpoint every ``every`` seconds in which something happened, the first ``now`` if wanted.

        And one more: the journal keeps what came since the one before the last, and may be full of it.
        """
        if now:
            await self.take()
        else:
            self._released = self._pump.position
        while True:
            await asyncio.sleep(every)
            moved = self._pump.changed or any(sink.changed for sink in self._assembly.sinks.values())
            if moved or self.error is not None or self._released < self._pump.position:
                await self.take()

    def give_up(self) -> int:
        """Expect no more answers to the checkpoint that is under way; return a number for another marker."""
        self._cut = _Cut(self._cut.number + 1, ())
        return self._cut.number

    def rewire(self, assembly: Assembly) -> None:
        """Go on with another version of the flow."""
        self._assembly = assembly

    def add_dead_letter(self, letter: DeadLetter) -> None:
        """Take a dead letter, to be saved with the next checkpoint or earlier."""
        self.dead_letters.append(letter)
        if len(self.dead_letters) >= EARLY_FLUSH:
            self._many.set()

    async def room(self) -> None:
        """Return when few dead letters wait for the disk: the pump stops, rather than that they fill the memory."""
        while len(self.dead_letters) >= MOST_UNSAVED:
            self._saved.clear()
            await self._saved.wait()

    async def save_dead_letters(self) -> None:
        """Save dead letters whenever many have gathered, until cancelled."""
        while True:
            await self._many.wait()
            self._many.clear()
            await self._save(self._store.add_dead_letters)
            if self.error is not None:
                await asyncio.sleep(DISK_PAUSE)
                self._many.set()  # the pump waits for this attempt, so no further letter asks for it

    async def take(self) -> None:
        """Send a marker through the flow and commit what comes back; waits as long as a sink does."""
        for sink in list(self._assembly.leaving):
            await sink.left.wait()
        started = self._clock.monotonic()
        tasks = ["", *self._assembly.sinks, *(stage.name for stage in self._assembly.stages)]
        cut = self._cut = _Cut(self._cut.number + 1, tasks)
        self._pump.want_marker(cut.number)
        await cut.complete.wait()
        if cut.problem is not None:
            self._failed(cut.problem)
            return
        position, clock = cut.position
        checkpoint = Checkpoint(
            position=position,
            clock=clock,
            states=cut.states,
            versions=cut.versions,
            definitions=dict(self._assembly.graph.definitions),
            counters=cut.counters,
            created=self._clock.now(),
            shapes={id: state_shape(node) for id, node in self._assembly.graph.nodes.items()},
        )
        releasable = await self._save(partial(self._store.save, checkpoint))
        if releasable is not None:
            self._journal.release(releasable)
            self._released = releasable
            for sink in self._assembly.sinks.values():
                sink.saved()
            self.saved_at = self._clock.now()
            self.seconds = self._clock.monotonic() - started

    async def _save[T](self, save: Callable[[list[DeadLetter]], Awaitable[T]]) -> T | None:
        """Save the dead letters and what belongs to them; a disk that fails is reported, and nothing is lost."""
        async with self._saving:
            letters, self.dead_letters = self.dead_letters, []
            try:
                saved = await save(letters)
            except BaseException as error:
                self.dead_letters[:0] = letters
                if not isinstance(error, OSError | JournalFull):
                    raise
                self._failed(str(error))
                return None
            self.error = None
            self._saved.set()
            return saved

    def _failed(self, error: str) -> None:
        self.error = error
        self._log.error("checkpoint failed", flow=self._assembly.graph.name, error=error)

    @property
    def age(self) -> float:
        """Seconds since the last checkpoint was committed."""
        return max(0.0, (self._clock.now() - self.saved_at) / NANOSECONDS)

    async def pump_passed(self, marker: Marker) -> None:
        """Hand in the pump's position and the nodes that it runs; the pump waits meanwhile."""
        cut = self._cut
        if marker.checkpoint != cut.number:
            return
        cut.position = (self._pump.position, self._pump.clock)
        cut.counters[RETIRED] = dump_counters(self._retired)
        for name, intake in self._assembly.intakes.items():
            counters = dump_counters(intake.counters)
            counters["source"] = self._pump.pumped.get(name, 0)
            counters["received"] = counters["source"] + kept_out(intake.counters)
            cut.counters[name] = counters
        await self._hand_in(cut, "", self._assembly.pumped.steps)

    async def stage_passed(self, stage: StageTask, marker: Marker) -> None:
        """Hand in the nodes of a stage, which waits meanwhile."""
        if marker.checkpoint == self._cut.number:
            await self._hand_in(self._cut, stage.name, stage.stage.steps)

    def sink_passed(self, name: str, marker: Marker) -> None:
        """Hand in a sink's word that all before the marker is done."""
        if marker.checkpoint == self._cut.number:
            self._cut.counters[name] = self._counters_of(name) | self._assembly.sinks[name].snapshot()
            self._cut.answer(name)

    async def _hand_in(self, cut: _Cut, task: str, steps: Sequence[Step]) -> None:
        for step in steps:
            # Before any state: what channels drop while the states are written down lies behind the marker.
            name = step.outlet.context.node
            cut.counters[name] = self._counters_of(name)
        for step in steps:
            await _hand_in_state(cut, step)
        cut.answer(task)

    def _counters_of(self, name: str) -> dict[str, Any]:
        """Return a node's counters at the marker: without what its channels have dropped behind it."""
        values = dump_counters(self._assembly.contexts[name].counters)
        channels = self._assembly.channels.items()
        if behind := sum(channel.dropped_behind for (_, target), channel in channels if target == name):
            values["received"] -= behind
            values["dropped"]["buffer_full"] -= behind
        return values


async def _hand_in_state(cut: _Cut, step: Step) -> None:
    name = step.outlet.context.node
    try:
        cut.states[name] = await dump_state(step.node, step.timers)
        cut.versions[name] = step.node.state_version
    except Exception as error:
        # A bug of the node type. The flow goes on, and the journal keeps what no checkpoint covers.
        cut.problem = f"the state of node `{name}` cannot be saved: {type(error).__name__}: {error}"
