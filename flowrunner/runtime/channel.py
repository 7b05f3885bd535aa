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


END = 2**63
"""The number of the marker behind which nothing comes any more."""

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
        to_stage: bool = False,
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
        self.to_stage = to_stage
        """Whether its consumer is a stage, not a sink."""
        self.closed = False
        """Whether nothing comes any more: another channel has taken its place."""
        self._widened = False
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
        return self.when_full == "block" and self.depth >= self.capacity and not self._widened

    def widen(self, *, wide: bool) -> None:
        """Let producers put without waiting, for as long as it takes to empty the channels before them."""
        self._widened = wide
        _wake(self._putter)

    def close(self) -> None:
        """Take nothing more in, and tell a consumer that waits."""
        self.closed = True
        _wake(self._getter)

    def put_first(self, batch: Batch) -> None:
        """Put a batch before everything else, whatever the capacity."""
        self.depth += len(batch.messages)
        self._items.appendleft(batch)
        _wake(self._getter)

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

    def tell(self, getter: asyncio.Future[None]) -> None:
        """Set ``getter`` when something is put in, or when the channel is closed."""
        self._getter = getter

    def peek(self) -> Item:
        """Return the oldest item without taking it."""
        return self._items[0]

    def reached(self) -> int:
        """Return the highest step that is in the channel before the first marker; 0 when it is empty.

        Failures of a sink that went on into another version may follow with a step that lies before it.
        """
        step = 0
        for item in self._items:
            step = max(step, item.step)
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


def merge(lists: list[list[Message]]) -> list[Message]:
    """Return the messages of several ordered lists in the order ``(clock, seq)``; ties in list order."""
    if len(lists) == 1:
        return lists[0]
    merged = [message for messages in lists for message in messages]
    merged.sort(key=_order)
    return merged


def _order(message: Message) -> tuple[int, int]:
    return message.clock, message.seq
