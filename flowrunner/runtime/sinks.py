"""The task around a sink: gather a batch, write it, try again for ever, answer checkpoint markers."""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from flowrunner.errors import RetryLater
from flowrunner.message import Message
from flowrunner.node import Counters, Limits, Sink
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
        await self._open()
        try:
            while True:
                marker = await self._gather(limits)
                while self.pending:
                    await self._write(self.pending[: limits.max_messages])
                self.ends.flush(*self._reached)
                if marker is not None:
                    self._on_marker(marker)
                    self.ends.mark(marker)
                await self.ends.room()
        finally:
            if self._opened:
                await self.node.close()

    async def _gather(self, limits: Limits) -> Marker | None:
        """Take until a batch is full or old enough, or a marker comes, which is returned."""
        loop = asyncio.get_running_loop()
        deadline: float | None = None
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
            if deadline is None:
                deadline = loop.time() + limits.max_age
        return None

    async def _write(self, batch: list[Message]) -> None:
        """Write one batch; when the world does not accept it, wait and leave it in ``pending``."""
        context, counters = self.outlet.context, self.outlet.context.counters
        dropped = _left_out(counters)
        counters.batches += 1
        left: Sequence[Message] = ()
        pause = 0.0
        try:
            if not self._opened:
                await self.node.open()
                self._opened = True
            await self.node.write(batch)
            failed = {id(message) for message, _ in context.failures}
            self.last.extend(message for message in batch[-LAST:] if id(message) not in failed)
            self._backoff.reset()
            context.report("running")
        except RetryLater as error:
            left = batch if error.remaining is None else error.remaining
            pause = self._backoff.next(asked=error.after, operator=error.operator)
            context.report("failed" if error.operator else "degraded", error.reason)
        except Exception as error:
            # A bug in the node type: start it anew, with the whole batch.
            context.log.error(
                "sink crashed", flow=context.flow, node=context.node, error=traceback.format_exc()
            )
            left, pause = batch, self._backoff.next()
            context.failures.clear()
            context.report("degraded", f"crashed: {type(error).__name__}: {error}")
            await self._reopen()
        ended = len(batch) - len(left)
        counters.written += ended - len(context.failures) - (_left_out(counters) - dropped)
        self.pending[: len(batch)] = left
        counters.held = len(self.pending)
        self.outlet.settle([])
        kept = {id(message) for message in left}
        self._on_written([message for message in batch if id(message) not in kept] if left else batch)
        if pause:
            counters.retries += 1
            await asyncio.sleep(pause)

    async def _open(self) -> None:
        """Open the sink before the first message; when that fails, the first write tries again."""
        try:
            await self.node.open()
        except Exception as error:
            self.outlet.context.report("degraded", f"cannot be opened: {error}")
        else:
            self._opened = True
            self.outlet.context.report("running")

    async def _reopen(self) -> None:
        self._opened = False
        await self.node.close()


def _left_out(counters: Counters) -> int:
    """Return what the sink itself dropped, without what its channel did meanwhile."""
    return sum(count for reason, count in counters.dropped.items() if reason != "buffer_full")
