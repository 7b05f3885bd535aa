"""A trace that is under way in a flow, and which messages belong to it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import msgspec

from flowrunner.message import Message
from flowrunner.tracecontext import TraceContext


class Trace(msgspec.Struct, frozen=True):
    """Messages keep the journal position and the flow clock of where they come from: by these they are known."""

    context: TraceContext
    origin: str
    """The node at which it began."""
    first: int
    """Journal positions; 0 for messages that a timer made."""
    last: int
    low: int
    """Flow clocks: nanoseconds."""
    high: int

    def among(self, batch: Sequence[Message]) -> Sequence[Message]:
        """Return the messages of a batch in the order of the clock that belong to it."""
        if batch[0].clock > self.high or batch[-1].clock < self.low:
            return ()
        start = bisect_left(batch, self.low, key=_clock)
        stop = bisect_right(batch, self.high, key=_clock)
        return [message for message in batch[start:stop] if self.first <= message.seq <= self.last]

    def covers(self, message: Message) -> bool:
        """Return whether a message belongs to it."""
        return self.first <= message.seq <= self.last and self.low <= message.clock <= self.high


class Kept(msgspec.Struct, frozen=True):
    """Messages of a trace that a node was given and may keep: its later results are linked to them."""

    context: TraceContext
    times: tuple[int, ...]
    """Event times."""

    def made(self, result: Message) -> bool:
        """Return whether a message that a timer has set free may come of them."""
        start, end = result.meta.get("window_start"), result.meta.get("window_end")
        if isinstance(start, int) and isinstance(end, int):
            return any(start <= time < end for time in self.times)
        return result.time in self.times

    def over(self, results: Sequence[Message]) -> bool:
        """Return whether no later results can come of them: they were passed on, or their windows have closed."""
        starts = [start for each in results if isinstance(start := each.meta.get("window_start"), int)]
        if starts:
            return max(self.times) < max(starts)
        return any(result.time in self.times for result in results)


def _clock(message: Message) -> int:
    return message.clock
