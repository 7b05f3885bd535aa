"""The task around a sink: gather a batch, write it, try again for ever, answer checkpoint markers."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from flowrunner.errors import NodeFailed, RetryLater
from flowrunner.message import Message
from flowrunner.node import Limits, Sink
from flowrunner.runtime.backoff import Backoff
from flowrunner.runtime.channel import END, Marker
from flowrunner.runtime.checkpoints.books import left_out
from flowrunner.runtime.inbox import Inbox
from flowrunner.runtime.stage import Ends, Outlet

_LOOK = 0.01
LAST = 5
"""Messages that are kept to look at."""


class SinkTask:
    """Runs one sink for the life of its flow."""

    def __init__(
        self,
        node: Sink[Any],
        outlet: Outlet,
        inbox: Inbox,
        ends: Ends,
        *,
        on_marker: Callable[[Marker], None],
        on_written: Callable[[Sequence[Message]], None],
    ) -> None:
        self.node = node
        self.outlet = outlet
        self.inbox = inbox
        self.ends = ends
        self.pending: list[Message] = []
        """What was taken from the channel and is not accepted by the world yet."""
        self.last: deque[Message] = deque(maxlen=LAST)
        """The newest messages that the world has accepted, for people to look at."""
        self._on_marker = on_marker
        self._on_written = on_written
        self._backoff = Backoff()
        self._opened = False
        self._writing = False
        self._leaving = False
        self.left = asyncio.Event()
        """Set when a sink that has left the flow has written what had come to it."""
        self._reached = (0, 0)

    async def run(self) -> None:
        """Write what comes in until cancelled, or until the end of what comes."""
        limits = self.node.limits()
        try:
            while not self._leaving:
                retry = None if self._opened else await self._open()
                # What a sink before this one has left is written first.
                marker = None if self.pending else await self._gather(limits, retry)
                while self.pending and not self._leaving:
                    await self._write(self.pending[: limits.max_messages])
                self.ends.flush(*self._reached)
                if marker is not None and marker.checkpoint == END:
                    return
                if marker is not None:
                    self._on_marker(marker)
                    self.ends.mark(marker)
                await self.ends.room()
        finally:
            await self._close()

    def snapshot(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of this task beside its counters, as plain values."""
        return {}

    @property
    def changed(self) -> bool:
        """Whether there is something new to hand in that no message from the pump brought about."""
        return False

    def saved(self) -> None:
        """Hear that the last snapshot is on disk."""

    def restore(self, values: dict[str, Any]) -> None:
        """Take up what a checkpoint kept. What an earlier version of the node held is dropped, and counted."""
        del values
        context, counters = self.outlet.context, self.outlet.context.counters
        if counters.held:
            context.log.warning(
                "what a changed node held was dropped",
                flow=context.flow,
                node=context.node,
                held=counters.held,
            )
            counters.drop("reload", counters.held)
            counters.held = 0

    async def prepare(self) -> None:
        """Open the sink ahead of :meth:`run`; raises what it raises."""
        await self.node.open()
        self._opened = True

    async def give_up(self) -> None:
        """Close a sink that was prepared and is not run."""
        await self._close()

    def turn(self, marker: Marker) -> None:
        """Send on what has gathered, and a marker to the stages behind."""
        self.ends.flush(*self._reached)
        self.ends.mark(marker, stages_only=True)

    def rewire(self, outlet: Outlet, inbox: Inbox, ends: Ends) -> None:
        """Go on between other parts; also in the midst of a write."""
        self.outlet, self.inbox, self.ends = outlet, inbox, ends

    async def leave(self, task: asyncio.Task[None], patience: float) -> list[Message]:
        """End :meth:`run`, which is ``task``, behind the write that is under way; return what is not accepted.

        A write that takes longer than ``patience`` seconds is cancelled: nobody knows then whether it was accepted.
        """
        self._leaving = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self.busy and not task.done():
                    await asyncio.wait({task}, timeout=_LOOK)
        task.cancel()
        await asyncio.wait({task})
        left, self.pending = self.pending, []
        return left

    @property
    def busy(self) -> bool:
        """Whether messages are in other hands: a cancellation now would leave open what became of them."""
        return self._writing

    def take_up(self, left: list[Message], values: dict[str, Any]) -> None:
        """Begin with what the sink before this one has not written; ``values`` is what that one's snapshot was."""
        del values
        self.pending, counters = left, self.outlet.context.counters
        if counters.held > len(left):
            counters.drop("reload", counters.held - len(left))
            counters.held = len(left)

    async def _gather(self, limits: Limits, retry: float | None) -> Marker | None:
        """Take until a batch is full or old enough, or a marker comes, which is returned.

        ``retry`` are the seconds after which there is something else to do.
        """
        loop = asyncio.get_running_loop()
        deadline = None if retry is None else loop.time() + retry
        while len(self.pending) < limits.max_messages:
            try:
                async with asyncio.timeout_at(deadline):
                    taken = await self._take()
            except TimeoutError:
                return None
            if isinstance(taken, Marker):
                return taken
            self.pending += taken
            if not self.pending or limits.max_age <= 0:
                return None
            if deadline is None or retry is not None:
                deadline, retry = loop.time() + limits.max_age, None
        return None

    async def _take(self) -> list[Message] | Marker:
        """Return the next messages that there are for the sink, or the next marker."""
        return await self._receive()

    async def _receive(self) -> list[Message] | Marker:
        """Return what comes in next, and count it."""
        taken = await self.inbox.take()
        if isinstance(taken, Marker):
            self._reached = (taken.step, taken.clock)
            return taken
        lists, step, clock = taken
        self._reached = (step, clock)
        messages = [message for arrived in lists.values() for message in arrived]
        counters = self.outlet.context.counters
        counters.received += len(messages)
        counters.held += len(messages)
        self.outlet.tap.arrived(self.outlet.context.node, messages)
        return messages

    async def _write(self, batch: list[Message]) -> None:
        """Write one batch; when the world does not accept it, wait and leave it in ``pending``."""
        context, traces = self.outlet.context, self.outlet.traces
        work = None if traces is None else traces.writing(context.node, batch)
        if work is None:
            pause = await self._attempt(batch)
        else:
            with work:
                pause = await self._attempt(batch)
                work.error = context.reason if pause else None
        if pause:
            context.counters.retries += 1
            await asyncio.sleep(0 if self._leaving else pause)

    async def _attempt(self, batch: list[Message]) -> float:
        """Write one batch; return how long to wait when the world does not accept it now, in seconds."""
        context, counters = self.outlet.context, self.outlet.context.counters
        before = left_out(counters)
        counters.batches += 1
        left: Sequence[Message] = ()
        pause = 0.0
        self._writing = True
        try:
            if not self._opened:
                await self.node.open()
                self._opened = True
            await self.node.write(batch)
            self._backoff.reset()
            context.report("running")
        except RetryLater as error:
            left = self._without_failed(batch) if error.remaining is None else error.remaining
            pause = self._refused(error)
        except Exception as error:
            # A bug in the node type: start it anew, with the whole batch.
            left, pause = batch, self._crashed(error)
            context.failures.clear()
            for reason in left_out(counters):
                counters.dropped[reason] = before.get(reason, 0)
            await self._close()
        self._writing = False
        accepted = self._end(batch, left, before)
        self._on_written(accepted)
        self.outlet.settle([])
        return pause

    def _end(self, batch: list[Message], left: Sequence[Message], before: dict[str, int]) -> list[Message]:
        """Count what has ended and keep what is left; return what the world has accepted."""
        context, counters = self.outlet.context, self.outlet.context.counters
        dropped = sum(left_out(counters).values()) - sum(before.values())
        counters.written += len(batch) - len(left) - len(context.failures) - dropped
        self.pending[: len(batch)] = left
        counters.held -= len(batch) - len(left)
        kept = {id(message) for message in left}
        self._ended([message for message in batch if id(message) not in kept] if kept else batch)
        accepted = [message for message in self._without_failed(batch) if id(message) not in kept]
        self.last.extend(accepted[-LAST:])
        self.outlet.tap.ended(context, accepted, dropped)
        return accepted

    def _ended(self, messages: Sequence[Message]) -> None:
        """Hear which messages have ended, in whatever way."""

    def _without_failed(self, batch: list[Message]) -> list[Message]:
        failed = {id(message) for message, _ in self.outlet.context.failures}
        return [message for message in batch if id(message) not in failed] if failed else batch

    def _refused(self, error: RetryLater) -> float:
        """Report what the world said and return the seconds to wait."""
        self.outlet.context.report("failed" if error.operator else "degraded", error.reason)
        return self._backoff.next(asked=error.after, operator=error.operator)

    def _crashed(self, error: Exception) -> float:
        context = self.outlet.context
        if isinstance(error, NodeFailed):
            context.report("failed", str(error))
            return self._backoff.next(operator=True)
        context.log.error("sink crashed", flow=context.flow, node=context.node, error=traceback.format_exc())
        context.report("degraded", f"crashed: {type(error).__name__}: {error}")
        return self._backoff.next()

    async def _open(self) -> float | None:
        """Open the sink; return the seconds after which to try again when that fails."""
        try:
            await self.node.open()
        except RetryLater as error:
            return self._refused(error)
        except Exception as error:
            failed = isinstance(error, NodeFailed)
            self.outlet.context.report("failed" if failed else "degraded", f"cannot be opened: {error}")
            return self._backoff.next(operator=failed)
        self._opened = True
        self._backoff.reset()
        self.outlet.context.report("running")
        return None

    async def _close(self) -> None:
        """Close the sink if it is open; what goes wrong with that ends nothing else."""
        if not self._opened:
            return
        self._opened = False
        context = self.outlet.context
        try:
            await self.node.close()
        except Exception as error:
            context.log.warning(
                "sink did not close",
                flow=context.flow,
                node=context.node,
                error=f"{type(error).__name__}: {error}",
            )
