"""The timers of a transform: on the flow clock, and part of its checkpoint."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import batched
from typing import Any

from flowrunner.clock import NEVER

_ORDER_BITS = 48
_PIECE = 1024
_FORGOTTEN = 1024


class Timers:
    """The timers of one transform, on the flow clock. Part of the node's checkpoint.

    A timer is one integer, its due time above and the order in which it was set below: a million integers are
    compared faster than tuples, and the garbage collector need not look into them.
    """

    __slots__ = ("_count", "_heap", "_key_of", "_timer_of", "due")

    def __init__(self) -> None:
        self._count = 0
        self._heap: list[int] = []
        """All timers, and some that have been replaced or cancelled."""
        self._key_of: dict[int, Hashable] = {}
        """The key of every timer that is set, in the order in which they were set."""
        self._timer_of: dict[Hashable, int] = {}
        self.due = NEVER
        """The earliest time at which a timer is due, ``NEVER`` when none is set."""

    def set(self, key: Hashable, due: int, *, now: int) -> None:
        """Call ``on_timer(key, due)`` when the flow clock reaches ``due``; replaces the timer of that key.

        ``key`` is a string, an integer or a tuple of these. ``now`` is the ``clock`` of the message (or the
        ``due`` of the timer) being processed: a timer is always later than the moment that set it.
        """
        self._count += 1
        timer = (max(due, now + 1) << _ORDER_BITS) + self._count
        replaced = self._timer_of.get(key)
        if replaced is not None:
            del self._key_of[replaced]
        self._timer_of[key] = timer
        self._key_of[timer] = key
        heapq.heappush(self._heap, timer)
        self._settle()

    def cancel(self, key: Hashable) -> None:
        """Forget the timer of ``key``, if there is one."""
        timer = self._timer_of.pop(key, None)
        if timer is not None:
            del self._key_of[timer]
            self._settle()

    def pop(self, clock: int) -> tuple[Hashable, int] | None:
        """Remove the earliest timer due at or before ``clock`` and return its key and due time."""
        due = self.due
        if due > clock:
            return None
        key = self._key_of.pop(heapq.heappop(self._heap))
        del self._timer_of[key]
        self._settle()
        return key, due

    def crowd(self, clock: int, size: int) -> bool:
        """Return whether ``size`` timers or more are due at or before ``clock``; looks at no more than twice as many."""
        heap, end, found, places = self._heap, (clock + 1) << _ORDER_BITS, 0, [0]
        if len(heap) < size:
            return False
        while places and found < size:
            place = places.pop()
            if place < len(heap) and heap[place] < end:
                found += 1
                places += (2 * place + 1, 2 * place + 2)
        return found >= size

    def clear(self) -> None:
        """Forget all timers."""
        self.__init__()  # type: ignore[misc]  # back to the state of a new object

    def __len__(self) -> int:
        return len(self._timer_of)

    def snapshot(self) -> Iterator[list[list[Any]]]:
        """Return ``[[due, key], …]`` in pieces, in the order in which the timers were set."""
        for piece in batched(self._key_of.items(), _PIECE):
            yield [[timer >> _ORDER_BITS, key] for timer, key in piece]

    def restore(self, piece: Iterable[Sequence[Any]]) -> None:
        """Add the timers of one piece of a snapshot; those due at the same time fire in the order of the pieces."""
        for due, key in piece:
            self.set(tuple(key) if isinstance(key, list) else key, due, now=due - 1)

    def _settle(self) -> None:
        """Drop what has been replaced or cancelled: what lies on top, and all of it when it is the greater part."""
        heap, key_of = self._heap, self._key_of
        if len(heap) > 2 * len(key_of) + _FORGOTTEN:
            heap[:] = key_of
            heapq.heapify(heap)
        while heap and heap[0] not in key_of:
            heapq.heappop(heap)
        self.due = heap[0] >> _ORDER_BITS if heap else NEVER
