"""A stage: transforms that run one after the other on whole batches, in one task, in a defined order.

For every step of the pump each transform gets what its wires brought, merged by ``(clock, seq)``, then the
timers that are due. The result does not depend on how the journal was cut into steps: see docs/architecture.md.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flowrunner.clock import NEVER
from flowrunner.context import Context
from flowrunner.errors import FlowrunnerError
from flowrunner.message import Message
from flowrunner.node import Transform
from flowrunner.runtime.careful import take_carefully
from flowrunner.runtime.channel import Batch, Channel, Marker, merge
from flowrunner.runtime.checkpoints.state import PATIENCE_NS
from flowrunner.runtime.follow import Follower
from flowrunner.runtime.taps import Tap
from flowrunner.tracing.flow import FlowTraces

SLICE = 1024
"""Messages that a transform is given at once: what it does in one go stays around a millisecond."""
AHEAD = 8 * SLICE
"""Journal positions behind a message that crashed a node for which a stage remains careful: they come in crowds."""

type OnFailure = Callable[[Context, Message, str], Message | None]
"""Decides where a failed message goes; returns what to send to the port ``errors``, if that is wired."""


class NodeCrashError(FlowrunnerError):
    """A node type raised where it must not: the flow goes back to its last checkpoint."""

    def __init__(self, node: str, error: BaseException, batch: Sequence[Message]) -> None:
        super().__init__(f"node `{node}` crashed: {type(error).__name__}: {error}")
        self.node = node
        self.positions = sorted({message.seq for message in batch if message.seq})
        """Journal positions of the messages that it was given."""


class Target:
    """Where a wire ends: messages gather here in the order of their wires until they are taken."""

    __slots__ = ("lists",)

    def __init__(self) -> None:
        self.lists: list[list[Message]] = []

    def take(self) -> list[Message]:
        """Remove and return everything, merged into the order of the journal."""
        if not self.lists:
            return []
        lists, self.lists = self.lists, []
        return merge(lists)


class Outlet:
    """The output side of a node: its ports, wires and counters, and the end of its failed messages."""

    def __init__(
        self,
        context: Context,
        wires: Mapping[str, Sequence[Target]],
        on_failure: OnFailure,
        tap: Tap | None = None,
    ) -> None:
        self.context = context
        self.wires = wires
        self.tap = tap or Tap(Follower())
        self.traces: FlowTraces | None = None
        """What follows messages, when traces are exported."""
        self._on_failure = on_failure

    def settle(self, out: list[Message]) -> None:
        """Send the results of one batch: ``out``, the other ports, the failures."""
        if out:
            self._send("out", out)
        context = self.context
        if context.failures:
            failures, context.failures = context.failures, []
            context.counters.errors += len(failures)
            failed = [self._on_failure(context, message, reason) for message, reason in failures]
            if sent := [message for message in failed if message is not None]:
                self._send("errors", sent)
        if context.ports:
            ports, context.ports = context.ports, {}
            for port, messages in ports.items():
                self._send(port, messages)

    def _send(self, port: str, messages: list[Message]) -> None:
        counters = self.context.counters
        targets = self.wires.get(port)
        if self.tap.listeners:
            self.tap.tell(port, messages)
        if not targets:
            counters.drop("unwired", len(messages))
            return
        counters.emitted[port] = counters.emitted.get(port, 0) + len(messages)
        counters.copied += len(messages) * (len(targets) - 1)
        for target in targets:
            target.lists.append(messages)


class Ends:
    """The channels that leave a task: flushed together at the end of each step."""

    def __init__(self) -> None:
        self.channels: list[tuple[Target, Channel]] = []
        self.since = 0
        """Markers of earlier checkpoints are not passed on: another version of the flow began them."""

    def add(self, channel: Channel) -> Target:
        """Return the target that feeds ``channel``."""
        target = Target()
        self.channels.append((target, channel))
        return target

    def flush(self, step: int, clock: int) -> None:
        """Put what has gathered into the channels; never waits."""
        for target, channel in self.channels:
            if target.lists or channel.progress:
                channel.put(Batch(step, clock, target.take()))

    def mark(self, marker: Marker, *, stages_only: bool = False) -> None:
        """Put a checkpoint marker into every channel, or into those to stages."""
        for _, channel in self.channels if marker.checkpoint >= self.since else ():
            if channel.to_stage or not stages_only:
                channel.put(marker)

    async def room(self) -> None:
        """Return when all channels have had room."""
        for _, channel in self.channels:
            if channel.full():
                await channel.room()


class Step:
    """One transform in a stage."""

    def __init__(self, node: Transform[Any], outlet: Outlet) -> None:
        self.node = node
        self.outlet = outlet
        self.inbox = Target()
        self.waiting = 0
        """Messages taken from the inbox that the node has not been given yet."""
        self.counters = outlet.context.counters
        self.timers = outlet.context.timers

    def part(self, batch: list[Message], position: int) -> list[Message]:
        """Return what the node is given next: nothing when timers come before it that are to fire in slices."""
        part = batch if position == 0 and len(batch) <= SLICE else batch[position : position + SLICE]
        if part and self.timers.due <= part[-1].clock and self._fires_much(part[-1].clock):
            return part[: bisect_left(part, self.timers.due, key=_clock)]
        return part

    def _fires_much(self, clock: int) -> bool:
        """Return whether the timers due by ``clock`` may set more free than fits into one slice."""
        return type(self.node).advance is not Transform.advance or self.timers.crowd(clock, 4 * SLICE)

    def run(self, part: list[Message], upto: int | None) -> tuple[list[Message], bool]:
        """Give the node a part, fire its timers up to a clock, send on what comes; return that and whether all fired."""
        counters = self.counters
        try:
            out = self._give(part) if part else []
            finished = upto is None or self._fire(upto, out)
        except Exception as error:
            raise NodeCrashError(self.outlet.context.node, error, part) from error
        counters.received += len(part)
        self.waiting -= len(part)
        counters.batches += 1
        self.outlet.settle(out)
        return out, finished

    def _give(self, part: list[Message]) -> list[Message]:
        follower = self.outlet.tap.follower
        return follower.give(self, part) if follower.followed else self.node.on_batch(part)

    def _fire(self, upto: int, out: list[Message]) -> bool:
        before = len(out)
        finished = self.node.advance(upto, out, SLICE)
        if self.outlet.tap.follower.followed:
            self.outlet.tap.follower.released(self, out[before:])
        return finished

    def run_traced(self, part: list[Message], upto: int | None, traces: FlowTraces) -> bool:
        """Run, and follow what is followed; return whether all timers have fired."""
        name, started = self.outlet.context.node, time.perf_counter_ns()
        work = traces.working(name, part)
        if work is None:
            out, finished = self.run(part, upto)
        else:
            with work:
                out, finished = self.run(part, upto)
            if self.counters.held:
                traces.keeps(name, work)
        if out:
            traces.emitted(name, out, time.perf_counter_ns() - started)
        return finished

    def renew(self) -> None:
        """Put a new node in the place of this one, without state and timers; the counters stay."""
        self.timers.clear()
        self.node = type(self.node)(self.node.config, self.outlet.context)


class Stage:
    """The transforms of one task, in topological order."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self.careful_until = 0
        """Up to this journal position a message that crashes a node is looked for, and ends alone."""
        self._yielded = 0

    @property
    def due(self) -> int:
        """The flow clock at which the next timer of any transform is due."""
        return min((step.timers.due for step in self.steps), default=NEVER)

    async def advance(self, clock: int) -> None:
        """Process what lies in the inboxes and fire the timers due at or before ``clock``."""
        started = self._yielded = time.perf_counter_ns()
        careful, reached = self.careful_until > 0, 0
        for step in self.steps:
            batch = step.inbox.take()
            if careful and batch:
                reached = max(reached, *(message.seq for message in batch))
                await self._run_carefully(step, batch)
                batch = []
            if batch or step.timers.due <= clock:
                started = await self._run(step, batch, clock, started)
        if careful and reached > self.careful_until:
            self.careful_until = 0

    async def _run(self, step: Step, batch: list[Message], clock: int, started: int) -> int:
        """Run one transform on its batch, slice by slice; return when it ended (nanoseconds)."""
        counters = step.counters
        position = 0
        while True:
            step.waiting = len(batch) - position
            part = step.part(batch, position)
            position += len(part)
            upto = _fire_upto(part, batch, position, clock)
            traces = step.outlet.traces
            if traces is None:
                _, finished = step.run(part, upto)
            else:
                finished = step.run_traced(part, upto, traces)
            now = time.perf_counter_ns()
            counters.busy_ns += now - started
            if position >= len(batch) and finished:
                return now
            if now - self._yielded > PATIENCE_NS:
                await asyncio.sleep(0)
                self._yielded = now = time.perf_counter_ns()
            started = now

    async def _run_carefully(self, step: Step, batch: list[Message]) -> None:
        try:
            poisoned = await take_carefully(step, batch)
        except Exception as error:
            # No message is to blame: a timer, or a state that cannot be taken back.
            raise NodeCrashError(step.outlet.context.node, error, []) from error
        if poisoned:
            self.careful_until = max(self.careful_until, poisoned + AHEAD)


def _fire_upto(part: Sequence[Message], batch: Sequence[Message], position: int, clock: int) -> int | None:
    """Return up to when timers fire after ``part``: all at the end of the batch, else those that hold up the next."""
    if position >= len(batch):
        return clock
    return None if part else batch[position].clock


def _clock(message: Message) -> int:
    return message.clock
