"""Checkpoints: a consistent cut through a running flow, without stopping it.

A marker travels through all channels. Each task that it passes hands in the state of its nodes; a sink hands in
its word that everything before the marker is accepted by the world or dead-lettered. When all have answered,
the journal position and the states are committed together: that is where a restart begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import msgspec

from flowrunner.clock import Clock
from flowrunner.context import Logger
from flowrunner.counters import Counters
from flowrunner.errors import JournalFull
from flowrunner.message import NANOSECONDS
from flowrunner.node import Transform
from flowrunner.runtime.assemble import Assembly, StageTask
from flowrunner.runtime.channel import Marker
from flowrunner.runtime.dead_letters import DeadLetter
from flowrunner.runtime.journal import Journal
from flowrunner.runtime.ledger import kept_out
from flowrunner.runtime.pump import Pump
from flowrunner.runtime.stage import Step
from flowrunner.runtime.store import Checkpoint, Store
from flowrunner.timers import Timers

EARLY_FLUSH = 256
"""Dead letters that wait for their checkpoint at the most: a sink that stalls keeps checkpoints waiting too."""
DISK_PAUSE = 5.0
"""Seconds between two attempts to store dead letters on a disk that failed."""
RETIRED = ""
"""The key under which the counters of nodes that are no longer in the flow are kept; not a valid node id."""


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
        self._number = 0
        self._missing: set[str] = set()
        self._complete = asyncio.Event()
        self._states: dict[str, bytes] = {}
        self._counters: dict[str, Any] = {}
        self._position = (0, 0)

    async def run(self, every: float) -> None:
        """Take a checkpoint every ``every`` seconds in which something happened."""
        while True:
            await asyncio.sleep(every)
            if self._pump.changed or self.error is not None:
                await self.take()

    def add_dead_letter(self, letter: DeadLetter) -> None:
        """Take a dead letter, to be saved with the next checkpoint or earlier."""
        self.dead_letters.append(letter)
        if len(self.dead_letters) >= EARLY_FLUSH:
            self._many.set()

    async def save_dead_letters(self) -> None:
        """Save dead letters whenever many have gathered, until cancelled."""
        while True:
            await self._many.wait()
            self._many.clear()
            await self._save(self._store.add_dead_letters)
            if self.error is not None:
                await asyncio.sleep(DISK_PAUSE)

    async def take(self) -> None:
        """Send a marker through the flow and commit what comes back; waits as long as a sink does."""
        started = self._clock.monotonic()
        self._number += 1
        self._states, self._counters = {}, {}
        self._missing = {"", *self._assembly.sinks, *(stage.name for stage in self._assembly.stages)}
        self._complete.clear()
        self._pump.want_marker(self._number)
        await self._complete.wait()
        position, clock = self._position
        checkpoint = Checkpoint(
            position=position,
            clock=clock,
            states=self._states,
            definitions=dict(self._assembly.graph.definitions),
            counters=self._counters,
            created=self._clock.now(),
        )
        releasable = await self._save(partial(self._store.save, checkpoint))
        if releasable is not None:
            self._journal.release(releasable)
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
                self.error = str(error)
                self._log.error("checkpoint failed", flow=self._assembly.graph.name, error=self.error)
                return None
            self.error = None
            return saved

    @property
    def age(self) -> float:
        """Seconds since the last checkpoint was committed."""
        return max(0.0, (self._clock.now() - self.saved_at) / NANOSECONDS)

    def pump_passed(self, marker: Marker) -> None:
        """Hand in the pump's position and the nodes that it runs."""
        del marker
        self._position = (self._pump.position, self._pump.clock)
        self._counters[RETIRED] = dump_counters(self._retired)
        for name, intake in self._assembly.intakes.items():
            counters = dump_counters(intake.counters)
            counters["source"] = self._pump.pumped.get(name, 0)
            counters["received"] = counters["source"] + kept_out(intake.counters)
            self._counters[name] = counters
        self._hand_in("", self._assembly.pumped.steps)

    def stage_passed(self, stage: StageTask, marker: Marker) -> None:
        """Hand in the nodes of a stage."""
        if marker.checkpoint == self._number:
            self._hand_in(stage.name, stage.stage.steps)

    def sink_passed(self, name: str, marker: Marker) -> None:
        """Hand in a sink's word that all before the marker is done."""
        if marker.checkpoint == self._number:
            self._counters[name] = self._counters_of(name) | self._assembly.sinks[name].snapshot()
            self._answer(name)

    def _hand_in(self, task: str, steps: Iterable[Step]) -> None:
        for step in steps:
            name = step.outlet.context.node
            self._states[name] = dump_state(step.node, step.timers)
            self._counters[name] = self._counters_of(name)
        self._answer(task)

    def _counters_of(self, name: str) -> dict[str, Any]:
        """Return a node's counters at the marker: without what its channels have dropped behind it."""
        values = dump_counters(self._assembly.contexts[name].counters)
        channels = self._assembly.channels.items()
        if behind := sum(channel.dropped_behind for (_, target), channel in channels if target == name):
            values["received"] -= behind
            values["dropped"]["buffer_full"] -= behind
        return values

    def _answer(self, task: str) -> None:
        self._missing.discard(task)
        if not self._missing:
            self._complete.set()


def dump_state(node: Transform[Any], timers: Timers) -> bytes:
    """Return a transform's state and timers as msgpack."""
    return msgspec.msgpack.encode([node.snapshot(), timers.snapshot()])


def load_state(node: Transform[Any], timers: Timers, data: bytes) -> None:
    """Give a transform the state and timers that :func:`dump_state` returned."""
    state, saved = msgspec.msgpack.decode(data)
    node.restore(state)
    timers.restore(saved)


def dump_counters(counters: Counters) -> dict[str, Any]:
    """Return the counters as plain values that do not change any more."""
    values = {name: getattr(counters, name) for name in Counters.__slots__}
    return values | {"dropped": dict(counters.dropped), "emitted": dict(counters.emitted)}


def load_counters(counters: Counters, values: dict[str, Any]) -> None:
    """Set counters to what :func:`dump_counters` returned."""
    for name in Counters.__slots__:
        if name in values:
            setattr(counters, name, values[name])


def retire(retired: Counters, values: dict[str, Any]) -> None:
    """Add the counters of a node that is gone to ``retired``; what it held is lost with it, and counted."""
    if "source" in values:
        retired.received += values["received"]
    retired.created += values["created"] + values["copied"]
    for name in ("filtered", "aggregated", "written", "dead_lettered", "errors"):
        setattr(retired, name, getattr(retired, name) + values[name])
    for reason, count in values["dropped"].items():
        retired.drop(reason, count)
    if values["held"]:
        retired.drop("reload", values["held"])
