"""The accumulators of `aggregate` that need the values themselves: quantiles, and counts of each value."""

from __future__ import annotations

import math
from array import array
from typing import Any, ClassVar

import msgspec

from flowrunner_nodes._accumulators import Unlimited

MOST_VALUES = 10_000
"""Different values that ``mode`` and ``distinct`` keep for one key and pane."""
EXACT_VALUES = 512
"""Values up to which a quantile is exact; beyond, they are gathered in a t-digest."""
_CENTROIDS = 200


class Quantiles(Unlimited):
    """The values themselves while they are few, a t-digest of full lots when they are more."""

    values: bytearray = msgspec.field(default_factory=bytearray)
    """Doubles, as they came."""
    digest: bytes = b""

    def add(self, value: float, time: int) -> None:
        """Take in one value."""
        del time
        self.values += array("d", (value,))
        if len(self.values) > 8 * EXACT_VALUES:
            self._gather()

    def merge(self, later: Quantiles) -> None:
        """Take in the other's values."""
        self.values += later.values
        if later.digest:
            self._gather()
            self.digest = _merged(self.digest, later.digest)
        elif self.digest or len(self.values) > 8 * EXACT_VALUES:
            self._gather()

    def quantile(self, q: float) -> float:
        """Return the value below which the share ``q`` lies, between the two nearest values in proportion."""
        if self.digest:
            return _estimate(_merged(self.digest, _digest(self.values)), q)
        ordered = sorted(_doubles(self.values))
        position = q * (len(ordered) - 1)
        below = int(position)
        low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
        return low + (high - low) * (position - below)

    def _gather(self) -> None:
        self.digest = _merged(self.digest, _digest(self.values))
        self.values = bytearray()


class Tally(msgspec.Struct, gc=False, array_like=True):
    """How often each value came, and when first."""

    counts: dict[Any, int] = msgspec.field(default_factory=dict)
    """By value; a bool stands in a tuple, since it would else equal 0 or 1."""
    firsts: dict[Any, int] = msgspec.field(default_factory=dict)
    """Event time of the first; of equal times the one that came first stands first."""

    limited: ClassVar[bool] = True

    def add(self, value: Any, time: int) -> None:
        """Count one value: a string, number, bool or null."""
        value = (value,) if value.__class__ is bool else value
        self.counts[value] = self.counts.get(value, 0) + 1
        if time < self.firsts.get(value, math.inf):
            self.firsts.pop(value, None)
            self.firsts[value] = time

    def merge(self, later: Tally) -> None:
        """Add the other's counts."""
        for value, count in later.counts.items():
            self.counts[value] = self.counts.get(value, 0) + count
        for value, time in later.firsts.items():
            self.firsts.setdefault(value, time)

    def refusal(self, value: Any, time: int) -> str | None:
        """Return a reason when there is no room for one more different value."""
        del time
        if len(self.counts) < MOST_VALUES or ((value,) if value.__class__ is bool else value) in self.counts:
            return None
        return f"there are already {MOST_VALUES} different values in this window"

    def mode(self) -> Any:
        """Return the most frequent value; of several, the one that came first."""
        most = max(self.counts.values())
        found = min(
            (value for value in self.firsts if self.counts[value] == most), key=self.firsts.__getitem__
        )
        return found[0] if isinstance(found, tuple) else found


def _doubles(data: bytearray) -> array[float]:
    doubles = array("d")
    doubles.frombytes(data)
    return doubles


def _digest(data: bytearray) -> bytes:
    from fastdigest import TDigest

    return (
        bytes(TDigest.from_values(sorted(_doubles(data)), max_centroids=_CENTROIDS).to_bytes())
        if data
        else b""
    )


def _estimate(digest: bytes, q: float) -> float:
    from fastdigest import TDigest

    whole = TDigest.from_bytes(digest)
    return float(
        min(max(whole.quantile(q), whole.min()), whole.max())
        if 0 < q < 1
        else (whole.max() if q else whole.min())
    )


def _merged(one: bytes, other: bytes) -> bytes:
    from fastdigest import TDigest

    if not one or not other:
        return one or other
    return bytes(TDigest.from_bytes(one).merge(TDigest.from_bytes(other)).to_bytes())
