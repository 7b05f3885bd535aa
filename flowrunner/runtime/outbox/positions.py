"""Which entries of an outbox count: up to where all have ended, and which behind that have ended early."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import msgspec


class Positions(msgspec.Struct):
    """Numbers of entries. Those up to ``done`` have ended; so have the ``ended`` ones between it and ``last``.

    An entry that never counted is the same as one that has ended: numbers that no entry has, and entries that a
    crash left behind and that the flow makes again.
    """

    last: int = 0
    done: int = 0
    ended: list[tuple[int, int]] = []
    """First and last number of each range, in order, none touching another or ``done``."""

    @property
    def count(self) -> int:
        """Entries that have not ended."""
        return self.last - self.done - sum(last - first + 1 for first, last in self.ended)

    def copy(self) -> Positions:
        """Return the same positions, which do not change any more."""
        return Positions(self.last, self.done, list(self.ended))

    def extend(self, last: int, count: int) -> None:
        """Add ``count`` entries that end with the number ``last``; numbers left out before them do not count."""
        self._add(self.last + 1, last - count)
        self.last = last
        self._settle()

    def end(self, numbers: Iterable[int]) -> int:
        """Note that entries have ended; return how many of them had not before."""
        before = self.count
        ranges = [(numbers.start, numbers.stop - 1)] if isinstance(numbers, range) else _ranges(numbers)
        for first, last in ranges:
            self._add(max(first, self.done + 1), min(last, self.last))
        self._settle()
        return before - self.count

    def cut(self, last: int) -> None:
        """Forget the entries behind ``last``, or leave out those behind the last known that there are."""
        if last > self.last:
            self.extend(last, 0)
            return
        self.ended = [(first, min(end, last)) for first, end in self.ended if first <= last]
        self.last, self.done = last, min(self.done, last)

    def live(self, after: int, upto: int) -> Iterator[int]:
        """Yield the numbers in ``after < number <= upto`` that have not ended, in order."""
        start = max(after, self.done) + 1
        for first, last in list(self.ended):
            yield from range(start, min(first - 1, upto) + 1)
            start = max(start, last + 1)
        yield from range(start, min(upto, self.last) + 1)

    def _add(self, first: int, last: int) -> None:
        if first <= last:
            self.ended.append((first, last))

    def _settle(self) -> None:
        """Bring the ranges into order, join those that touch, and let ``done`` take in the first."""
        joined: list[tuple[int, int]] = []
        for first, last in sorted(self.ended):
            if joined and first <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(joined[-1][1], last))
            else:
                joined.append((first, last))
        if joined and joined[0][0] <= self.done + 1:
            self.done = max(self.done, joined.pop(0)[1])
        self.ended = joined


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return the ranges that numbers form."""
    ordered = sorted(numbers)
    if not ordered:
        return []
    breaks = [(a, b) for a, b in pairwise(ordered) if b > a + 1]
    firsts = [ordered[0], *(b for _, b in breaks)]
    lasts = [*(a for a, _ in breaks), ordered[-1]]
    return list(zip(firsts, lasts, strict=True))
