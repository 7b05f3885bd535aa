"""The two tasks around a sink with an outbox: one brings what comes in to the disk, the other writes it out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, override

from flowrunner.errors import FlowrunnerError, JournalFull, MessageError
from flowrunner.message import Message, Record
from flowrunner.node import Sink
from flowrunner.runtime.backoff import Backoff
from flowrunner.runtime.channel import END, Marker, WhenFull
from flowrunner.runtime.checkpoints.books import OUTBOX_DAMAGED, OUTBOX_FULL
from flowrunner.runtime.outbox.outbox import Outbox, Recovery
from flowrunner.runtime.sinks import SinkTask
from flowrunner.runtime.stage import Outlet

DISK_PAUSE = 5.0
"""Seconds between two attempts at a disk that failed."""


class OutboxTask(SinkTask):
    """Runs one sink behind an outbox: a marker passes when all before it is on disk, written out or not."""

    def __init__(self, node: Sink[Any], outlet: Outlet, *, directory: Path, **given: Any) -> None:
        super().__init__(node, outlet, **given)
        context, options = outlet.context, node.config
        self.outbox = Outbox(
            directory, context.node, options.outbox.max_bytes, context.clock, on_lost=self._lost
        )
        self._when_full: WhenFull = "block" if options.buffer is None else options.buffer.when_full
        self._state: Any = None
        self._in_hand: list[Message] = []
        """What has come in and is not on disk yet."""
        self._full = False

    @override
    def restore(self, values: dict[str, Any]) -> None:
        self._state = values.get("outbox")

    @override
    def snapshot(self) -> dict[str, Any]:
        return {"outbox": self.outbox.snapshot()}

    @property
    @override
    def changed(self) -> bool:
        return self.outbox.changed

    @override
    def saved(self) -> None:
        self.outbox.saved()

    @override
    async def run(self) -> None:
        """Take in and write out until cancelled."""
        try:
            self._recover(await self._open_outbox())
            async with asyncio.TaskGroup() as group:
                filling = group.create_task(self._fill(), name=f"outbox {self.outlet.context.node}")
                await super().run()
                filling.cancel()
        finally:
            await self.outbox.close(for_good=self._leaving)

    @property
    @override
    def busy(self) -> bool:
        return bool(self._in_hand) or super().busy

    @override
    async def leave(self, task: asyncio.Task[None], patience: float) -> list[Message]:
        await super().leave(task, patience)  # what that one leaves is in the outbox
        left, self._in_hand = self._in_hand, []
        return left

    @override
    def take_up(self, left: list[Message], values: dict[str, Any]) -> None:
        self.restore(values)
        counters = self.outlet.context.counters
        counters.received -= len(left)
        counters.held -= len(left)
        self.inbox.put_first({self.outlet.context.node: left})

    @override
    async def _take(self) -> list[Message]:
        while True:
            try:
                return await self.outbox.take()
            except OSError as error:
                await self._disk_failed(error)

    @override
    def _ended(self, messages: Sequence[Message]) -> None:
        self.outbox.end(messages, failed=bool(self.outlet.context.failures))

    def _lost(self, count: int) -> None:
        """Count messages that cannot be read any more."""
        self._drop(OUTBOX_DAMAGED, count)
        context = self.outlet.context
        context.log.error(
            "messages in the outbox cannot be read", flow=context.flow, node=context.node, count=count
        )

    async def _open_outbox(self) -> Recovery:
        """Open the outbox, as soon as the disk lets it be opened."""
        context, backoff = self.outlet.context, Backoff()
        while True:
            try:
                return await self.outbox.open(self._state, context.counters.held)
            except (OSError, FlowrunnerError) as error:
                context.report("failed", f"the outbox cannot be opened: {error}")
                await asyncio.sleep(backoff.next())

    def _recover(self, recovery: Recovery) -> None:
        """Bring the counters of the checkpoint into line with what the disk has."""
        counters = self.outlet.context.counters
        counters.created += recovery.found
        counters.held += recovery.found
        if recovery.lost:
            self._lost(recovery.lost)
        if self._when_full == "drop_oldest":
            self._drop(OUTBOX_FULL, recovery.ended)
        else:
            counters.held -= recovery.ended
            counters.written += recovery.ended

    async def _fill(self) -> None:
        while not self._leaving:
            taken = await self._receive()
            if isinstance(taken, Marker) and taken.checkpoint == END:
                return
            if isinstance(taken, Marker):
                self.ends.flush(*self._reached)
                self._on_marker(taken)
                self.ends.mark(taken)
                continue
            for portion in self.outbox.portions(self._records(taken)):
                await self._put(portion)
                del self._in_hand[: len(portion)]
            self.ends.flush(*self._reached)
            await self.ends.room()

    def _records(self, messages: Sequence[Message]) -> list[Record]:
        """Take messages in hand and return them as they are written down; those that cannot be fail."""
        context, records = self.outlet.context, list[Record]()
        # The other task may be in the midst of a write: its failures are none of this one's.
        others, context.failures = context.failures, []
        for message in messages:
            try:
                records.append(self.outbox.record(message))
                self._in_hand.append(message)
            except MessageError as error:
                context.fail(message, str(error))
        context.counters.held -= len(context.failures)
        self.outlet.settle([])
        context.failures = others
        return records

    async def _put(self, records: Sequence[Record]) -> None:
        """Bring records to the disk, or drop them when the options say so."""
        while True:
            try:
                await self.outbox.put(records)
            except JournalFull as error:
                self._tell_full(error)
                if not await self.outbox.give_way() and not await self._make_room(len(records)):
                    return
            except OSError as error:
                await self._disk_failed(error)
            else:
                self._full = False
                return

    async def _make_room(self, count: int) -> bool:
        """Do as ``when_full`` says; return whether the messages at hand shall be tried again."""
        if self._when_full == "drop_newest":
            self._drop(OUTBOX_FULL, count)
            return False
        dropped = await self.outbox.drop_oldest(count) if self._when_full == "drop_oldest" else 0
        self._drop(OUTBOX_FULL, dropped)
        if not dropped:
            await self.outbox.progress()
        return True

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self.outlet.context.counters.drop(reason, count)
            self.outlet.context.counters.held -= count

    def _tell_full(self, error: JournalFull) -> None:
        context = self.outlet.context
        if not self._full:
            context.log.warning("the outbox is full", flow=context.flow, node=context.node, error=str(error))
        self._full = True

    async def _disk_failed(self, error: OSError) -> None:
        self.outlet.context.report("degraded", f"the outbox cannot be used: {error}")
        await asyncio.sleep(DISK_PAUSE)
