"""The task around a sink: gather a batch, write it, try again for ever, answer checkpoint markers."""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from flowrunner.counters import Counters
from flowrunner.errors import NodeFailed, RetryLater
from flowrunner.message import Message
from flowrunner.node import Limits, Sink
from flowrunner.runtime.backoff import Backoff
from flowrunner.runtime.channel import Inbox, Marker
from flowrunner.runtime.stage import Ends, Outlet

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
        self._reached = (0, 0)

    async def run(self) -> None:
        """Write what comes in until cancelled."""
        limits = self.node.limits()
        try:
            while True:
                retry = None if self._opened else await self._open()
                marker = await self._gather(limits, retry)
                while self.pending:
                    await self._write(self.pending[: limits.max_messages])
                self.ends.flush(*self._reached)
                if marker is not None:
                    self._on_marker(marker)
                    self.ends.mark(marker)
                await self.ends.room()
        finally:
            await self._close()

    async def _gather(self, limits: Limits, retry: float | None) -> Marker | None:
        """Take until a batch is full or old enough, or a marker comes, which is returned.

        ``retry`` are the seconds after which there is something else to do.
        """
        loop = asyncio.get_running_loop()
        deadline = None if retry is None else loop.time() + retry
        while len(self.pending) < limits.max_messages:
            try:
                async with asyncio.timeout_at(deadline):
                    taken = await self.inbox.take()
            except TimeoutError:
                return None
            if isinstance(taken, Marker):
                self._reached = (taken.step, taken.clock)
                return taken
            lists, step, clock = taken
            self._reached = (step, clock)
            counters = self.outlet.context.counters
            for messages in lists.values():
                counters.received += len(messages)
                self.pending += messages
            counters.held = len(self.pending)
            if not self.pending or limits.max_age <= 0:
                return None
            if deadline is None or retry is not None:
                deadline, retry = loop.time() + limits.max_age, None
        return None

    async def _write(self, batch: list[Message]) -> None:
        """Write one batch; when the world does not accept it, wait and leave it in ``pending``."""
        context, counters = self.outlet.context, self.outlet.context.counters
        before = _left_out(counters)
        counters.batches += 1
        left: Sequence[Message] = ()
        pause = 0.0
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
            for reason in _left_out(counters):
                counters.dropped[reason] = before.get(reason, 0)
            await self._close()
        accepted = self._end(batch, left, before)
        self._on_written(accepted)
        self.outlet.settle([])
        if pause:
            counters.retries += 1
            await asyncio.sleep(pause)

    def _end(self, batch: list[Message], left: Sequence[Message], before: dict[str, int]) -> list[Message]:
        """Count what has ended and keep what is left; return what the world has accepted."""
        context, counters = self.outlet.context, self.outlet.context.counters
        dropped = sum(_left_out(counters).values()) - sum(before.values())
        counters.written += len(batch) - len(left) - len(context.failures) - dropped
        self.pending[: len(batch)] = left
        counters.held = len(self.pending)
        kept = {id(message) for message in left}
        accepted = [message for message in self._without_failed(batch) if id(message) not in kept]
        self.last.extend(accepted[-LAST:])
        return accepted

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


def _left_out(counters: Counters) -> dict[str, int]:
    """Return what the sink itself dropped, without what its channel did meanwhile."""
    return {reason: count for reason, count in counters.dropped.items() if reason != "buffer_full"}
