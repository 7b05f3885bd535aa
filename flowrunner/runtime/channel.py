"""Bounded channels between tasks, and what travels in them: batches and checkpoint markers, in band.

A producer puts without waiting, then waits for room before its next step. So a channel holds at most its
capacity and one step's output, and a fan-out never leaves one of its branches without what the others have:
that is what keeps a diamond of full channels from locking itself up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

from flowrunner.message import Message


class Batch(msgspec.Struct, frozen=True, gc=False):
    """What one step of the producer sends to one node: ordered by ``(clock, seq)``, never changed."""

    step: int
    """The pump's step this comes from: the same number on all wires."""
    clock: int
    """The flow clock at the end of the step."""
    messages: list[Message]


class Marker(msgspec.Struct, frozen=True, gc=False):
    """The line between what belongs to a checkpoint and what does not."""

    checkpoint: int
    step: int
    clock: int


type Item = Batch | Marker
type WhenFull = Literal["block", "drop_oldest", "drop_newest"]


class Channel:
    """The queue from one producing task to one node of another task."""

    def __init__(
        self,
        *,
        capacity: int = 1024,
        when_full: WhenFull = "block",
        progress: bool = False,
        on_drop: Callable[[int], None] | None = None,
    ) -> None:
        self.capacity = capacity
        self.when_full: WhenFull = when_full
        self.progress = progress
        """Whether the consumer needs to hear of steps that send it nothing."""
        self.depth = 0
        """Messages in the channel."""
        self.blocked_seconds = 0.0
        self.dropped_behind = 0
        """Messages dropped that lay behind the newest marker: they are not part of its checkpoint."""
        self._items: deque[Item] = deque()
        self._markers = 0
        self._on_drop = on_drop
        self._getter: asyncio.Future[None] | None = None
        self._putter: asyncio.Future[None] | None = None

    def put(self, item: Item) -> None:
        """Add an item; never waits. Beyond the capacity messages are dropped unless the channel blocks."""
        if isinstance(item, Marker):
            self._markers += 1
            self.dropped_behind = 0
        else:
            if self.when_full != "block" and self.depth + len(item.messages) > self.capacity:
                item = self._make_room(item)
            if not item.messages:
                if not self.progress:
                    return
                self._forget_last_if_empty()  # the later step says all: a stalled consumer must not cost memory
            self.depth += len(item.messages)
        self._items.append(item)
        _wake(self._getter)

    def full(self) -> bool:
        """Return whether a producer should wait."""
        return self.when_full == "block" and self.depth >= self.capacity

    async def room(self) -> None:
        """Return when the channel has room."""
        loop = asyncio.get_running_loop()
        if not self.full():
            return
        since = loop.time()
        try:
            while self.full():
                self._putter = loop.create_future()
                await self._putter
        finally:
            self.blocked_seconds += loop.time() - since

    def empty(self) -> bool:
        """Return whether there is nothing to take."""
        return not self._items

    async def wait(self) -> None:
        """Return when there is something to take."""
        while not self._items:
            self._getter = asyncio.get_running_loop().create_future()
            await self._getter

    def peek(self) -> Item:
        """Return the oldest item without taking it."""
        return self._items[0]

    def reached(self) -> int:
        """Return the last step that is in the channel before the first marker; 0 when it is empty."""
        step = 0
        for item in self._items:
            step = item.step
            if isinstance(item, Marker):
                break
        return step

    def take(self) -> Item:
        """Remove and return the oldest item."""
        item = self._items.popleft()
        if isinstance(item, Batch):
            self.depth -= len(item.messages)
            if self._putter is not None and not self.full():
                _wake(self._putter)
        else:
            self._markers -= 1
        return item

    def _make_room(self, new: Batch) -> Batch:
        """Drop what is too much and return what is left of ``new``."""
        surplus = self.depth + len(new.messages) - self.capacity
        if self.when_full == "drop_oldest":
            surplus -= self._drop_oldest(min(surplus, self.depth))
            kept = new.messages[surplus:]
        else:
            kept = new.messages[: max(0, len(new.messages) - surplus)]
        self._dropped(len(new.messages) - len(kept), behind=True)
        return Batch(new.step, new.clock, kept)

    def _drop_oldest(self, count: int) -> int:
        """Drop the oldest ``count`` messages that are in the channel."""
        markers: list[Item] = []
        left = count
        while left:
            item = self._items.popleft()
            if isinstance(item, Marker):
                markers.append(item)
                continue
            cut = min(left, len(item.messages))
            left -= cut
            self.depth -= cut
            self._dropped(cut, behind=len(markers) == self._markers)
            if cut < len(item.messages):
                self._items.appendleft(Batch(item.step, item.clock, item.messages[cut:]))
        self._items.extendleft(reversed(markers))
        return count

    def _forget_last_if_empty(self) -> None:
        if self._items and isinstance(last := self._items[-1], Batch) and not last.messages:
            self._items.pop()

    def _dropped(self, count: int, *, behind: bool) -> None:
        self.dropped_behind += count if behind else 0
        if count and self._on_drop is not None:
            self._on_drop(count)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


class Inbox:
    """What a task receives: one channel or several, taken up step by step so that the order is defined.

    With several channels a step is handed out when every producer has come past it; a producer that is ahead
    waits in its channel, and so does what lies behind a marker until the marker has come in on all of them.
    """

    def __init__(self, channels: dict[str, list[Channel]]) -> None:
        """``channels``: the target node's id → its channels, in the order of their producers."""
        self._targets = [(target, channel) for target, inputs in channels.items() for channel in inputs]
        self._reached = [0] * len(self._targets)

    async def take(self) -> tuple[dict[str, list[Message]], int, int] | Marker:
        """Return ``(messages by node, step, clock)`` of all complete steps, or the next marker."""
        while True:
            step = await self._complete_step()
            taken, clock = self._take_until(step)
            if clock is not None:
                return taken, step, clock
            if (marker := self._take_marker()) is not None:
                return marker

    async def _complete_step(self) -> int:
        for number, (_, channel) in enumerate(self._targets):
            if self._reached[number] <= min(self._reached) and channel.empty():
                await channel.wait()
            self._reached[number] = max(self._reached[number], channel.reached())
        return min(self._reached)

    def _take_until(self, step: int) -> tuple[dict[str, list[Message]], int | None]:
        taken: dict[str, list[list[Message]]] = {}
        clock: int | None = None
        for target, channel in self._targets:
            while not channel.empty():
                item = channel.peek()
                if isinstance(item, Marker) or item.step > step:
                    break
                channel.take()
                clock = item.clock if clock is None else max(clock, item.clock)
                if item.messages:
                    taken.setdefault(target, []).append(item.messages)
        return {target: merge(lists) for target, lists in taken.items()}, clock

    def _take_marker(self) -> Marker | None:
        heads = [channel.peek() if not channel.empty() else None for _, channel in self._targets]
        if not all(isinstance(head, Marker) for head in heads):
            return None
        for _, channel in self._targets:
            channel.take()
        marker = heads[0]
        return marker if isinstance(marker, Marker) else None


def merge(lists: list[list[Message]]) -> list[Message]:
    """Return the messages of several ordered lists in the order ``(clock, seq)``; ties in list order."""
    if len(lists) == 1:
        return lists[0]
    merged = [message for messages in lists for message in messages]
    merged.sort(key=_order)
    return merged


def _order(message: Message) -> tuple[int, int]:
    return message.clock, message.seq
