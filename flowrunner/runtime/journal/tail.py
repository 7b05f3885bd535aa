"""Runs of journal entries in memory: the newest part of a journal, or what was read ahead from disk."""

from __future__ import annotations

from bisect import bisect_right
from typing import Protocol

ENTRY_BYTES = 200
"""What an entry takes in memory beside its encoded bytes, about."""
_COMPACT = 64


class _Numbered(Protocol):
    @property
    def seq(self) -> int: ...


class Tail[E: _Numbered]:
    """Entries in the order of their numbers, at most ``max_bytes`` of them: the oldest give way."""

    def __init__(self, max_bytes: int | None = None) -> None:
        self.bytes = 0
        self._max_bytes = max_bytes
        self._runs: list[list[E]] = []
        self._lasts: list[int] = []
        self._sizes: list[int] = []
        self._start = 0

    @property
    def head(self) -> E | None:
        """The oldest entry."""
        return self._runs[self._start][0] if self._start < len(self._runs) else None

    def push(self, entries: list[E], size: int) -> None:
        """Add entries without gaps between them that take about ``size`` bytes."""
        self._runs.append(entries)
        self._lasts.append(entries[-1].seq)
        self._sizes.append(size)
        self.bytes += size
        while self._max_bytes is not None and self.bytes > self._max_bytes:
            self._drop(self._start + 1)

    def forget(self, upto: int) -> None:
        """Drop the runs that end at or before ``upto``."""
        self._drop(bisect_right(self._lasts, upto, self._start))

    def take(self, after: int, limit: int) -> list[E]:
        """Return at most ``limit`` entries after ``after``, up to the next gap; do not change the list."""
        index = bisect_right(self._lasts, after, self._start)
        if index == len(self._runs):
            return []
        run = self._runs[index]
        start = max(after + 1 - run[0].seq, 0)
        found = run[start : start + limit]
        while len(found) < limit and index + 1 < len(self._runs):
            index += 1
            run = self._runs[index]
            if run[0].seq != found[-1].seq + 1:
                break
            found += run[: limit - len(found)]
        return found

    def _drop(self, start: int) -> None:
        self.bytes -= sum(self._sizes[self._start : start])
        self._runs[self._start : start] = [[]] * (start - self._start)
        self._start = start
        if start > _COMPACT and 2 * start > len(self._runs):
            del self._runs[:start], self._lasts[:start], self._sizes[:start]
            self._start = 0
