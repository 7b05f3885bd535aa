"""The timers of a transform: on the flow clock, and part of its checkpoint."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from flowrunner.clock import NEVER


class Timers:
    """The timers of one transform, on the flow clock. Part of the node's checkpoint."""

    __slots__ = ("_count", "_due_of", "_heap", "due")

    def __init__(self) -> None:
        self._count = 0
        self._heap: list[tuple[int, int, Hashable]] = []
        self._due_of: dict[Hashable, tuple[int, int]] = {}
        self.due = NEVER
        """The earliest time at which a timer is due, ``NEVER`` when none is set."""

    def set(self, key: Hashable, due: int, *, now: int) -> None:
        """Call ``on_timer(key, due)`` when the flow clock reaches ``due``; replaces the timer of that key.

        ``key`` is a string, an integer or a tuple of these. ``now`` is the ``clock`` of the message (or the
        ``due`` of the timer) being processed: a timer is always later than the moment that set it.
        """
        due = max(due, now + 1)
        self._count = order = self._count + 1
        self._due_of[key] = (due, order)
        heapq.heappush(self._heap, (due, order, key))
        self._settle()

    def cancel(self, key: Hashable) -> None:
        """Forget the timer of ``key``, if there is one."""
        if self._due_of.pop(key, None) is not None:
            self._settle()

    def pop(self, clock: int) -> tuple[Hashable, int] | None:
        """Remove the earliest timer due at or before ``clock`` and return its key and due time."""
        if self.due > clock:
            return None
        due, _, key = heapq.heappop(self._heap)
        del self._due_of[key]
        self._settle()
        return key, due

    def __len__(self) -> int:
        return len(self._due_of)

    def snapshot(self) -> list[list[Any]]:
        """Return ``[[due, key], …]`` in the order in which the timers will fire."""
        return [[due, key] for key, (due, _) in sorted(self._due_of.items(), key=lambda item: item[1])]

    def restore(self, saved: Iterable[Sequence[Any]]) -> None:
        """Take up the timers of a snapshot in place of the present ones."""
        self.__init__()  # type: ignore[misc]  # back to the state of a new object
        for due, key in saved:
            self.set(tuple(key) if isinstance(key, list) else key, due, now=due - 1)

    def _settle(self) -> None:
        heap, due_of = self._heap, self._due_of
        while heap and due_of.get(heap[0][2]) != heap[0][:2]:
            heapq.heappop(heap)
        self.due = heap[0][0] if heap else NEVER
