"""What a task receives over its channels, in a defined order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from flowrunner.message import Message
from flowrunner.runtime.channel import Batch, Channel, Marker, merge


class Inbox:
    """What a task receives: one channel or several, taken up step by step so that the order is defined.

    With several channels a step is handed out when every producer has come past it; a producer that is ahead
    waits in its channel, and so does what lies behind a marker until the marker has come in on all of them.
    """

    def __init__(self, channels: dict[str, list[Channel]]) -> None:
        """``channels``: the target node's id → its channels, in the order of their producers."""
        self._targets = [(target, channel) for target, inputs in channels.items() for channel in inputs]
        self._reached = [0] * len(self._targets)
        self._successor: Inbox | None = None

    async def take(self) -> tuple[dict[str, list[Message]], int, int] | Marker:
        """Return ``(messages by node, step, clock)`` of all complete steps, or the next marker."""
        while self._successor is None:
            step = await self._complete_step()
            taken, clock = self._take_until(step)
            if clock is not None:
                return taken, step, clock
            if (marker := self._take_marker()) is not None:
                return marker
        return await self._successor.take()

    def mark(self, marker: Marker) -> None:
        """Put a marker into every channel."""
        for _, channel in self._targets:
            channel.put(marker)

    @property
    def depth(self) -> int:
        """Messages in the channels."""
        return sum(channel.depth for _, channel in self._targets)

    def begin(self, step: int) -> None:
        """Expect no step up to this one from any producer; failures of sinks may still follow."""
        self._reached = [step] * len(self._targets)

    def take_over(self, other: Inbox, step: int, clock: int) -> None:
        """Begin with what is in another inbox for the same node; whoever waits there waits here from now on.

        All producers of ``other`` have come to ``step``, and those of this one begin behind it.
        """
        self.put_first(other.take_all(), step, clock)
        other._successor = self
        for _, channel in other._targets:
            channel.close()
        for (_, channel), (_, before) in zip(self._targets, other._targets, strict=False):
            channel.blocked_seconds += before.blocked_seconds

    def put_first(self, messages: Mapping[str, list[Message]], step: int = 0, clock: int = 0) -> None:
        """Put messages, by the node that they are for, before everything that comes from the producers."""
        left = {target: found for target, found in messages.items() if found}
        for target, channel in self._targets if left else ():
            channel.put_first(Batch(step, clock, left.pop(target, [])))

    def take_all(self) -> dict[str, list[Message]]:
        """Remove and return everything, in order, by the node that it is for, without the markers."""
        lists: dict[str, list[list[Message]]] = {}
        for target, channel in self._targets:
            while not channel.empty():
                if isinstance(item := channel.take(), Batch) and item.messages:
                    lists.setdefault(target, []).append(item.messages)
        return {target: merge(found) for target, found in lists.items()}

    async def _complete_step(self) -> int:
        """Return the step that all producers have come to, when there is something to take."""
        while True:
            for number, (_, channel) in enumerate(self._targets):
                self._reached[number] = max(self._reached[number], channel.reached())
            step = min(self._reached)
            if self._late(step) or not self._missing():
                return step
            await self._news()

    def _late(self, step: int) -> bool:
        """Return whether a sink's failures came in behind their step: to wait for the others could lock up both."""
        heads = [channel.peek() for _, channel in self._targets if not channel.empty()]
        return any(isinstance(head, Batch) and head.step <= step for head in heads)

    def _missing(self) -> bool:
        """Return whether more has to come in before anything can be taken."""
        return any(channel.empty() and not channel.closed for _, channel in self._targets)

    async def _news(self) -> None:
        """Return when something has been put into any of the channels, or when they are closed."""
        news = asyncio.get_running_loop().create_future()
        for _, channel in self._targets:
            channel.tell(news)
        await news

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
        markers = [(number, head) for number, head in enumerate(heads) if isinstance(head, Marker)]
        if not markers:
            return None
        newest = max((marker for _, marker in markers), key=lambda marker: marker.checkpoint)
        # A checkpoint that was given up may have left its marker on some of the channels only: it is passed over.
        past = max((head.step for head in heads if isinstance(head, Batch)), default=0)
        alone = [
            number
            for number, marker in markers
            if marker.checkpoint < newest.checkpoint or marker.step < past
        ]
        if not alone and len(markers) < len(heads):
            return None
        for number in alone or range(len(heads)):
            self._targets[number][1].take()
        return None if alone else newest
