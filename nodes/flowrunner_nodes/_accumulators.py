"""What `aggregate` keeps of the values of one expression, one key and one pane, whatever their order.

An accumulator is told every value with ``add`` and joined with that of a later pane with ``merge``. Its fields are its
state: plain values that msgpack can write. None of them counts the values: that is the same number for all of them.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Protocol

import msgspec


class Accumulator(Protocol):
    """What all accumulators do."""

    limited: ClassVar[bool]
    """Whether ``refusal`` may ever refuse."""

    def add(self, value: Any, time: int) -> None:
        """Take in one value and its event time, nanoseconds."""

    def merge(self, later: Any) -> None:
        """Take in what an accumulator of the same kind has seen in a later pane, and leave that one as it is."""

    def refusal(self, value: Any, time: int) -> str | None:
        """Return why ``add`` must not be called with this value now, if so."""


class Unlimited(msgspec.Struct, gc=False, array_like=True):
    """Base of the accumulators that always have room."""

    limited: ClassVar[bool] = False

    def refusal(self, value: Any, time: int) -> str | None:
        """Return nothing: there is always room."""
        del value, time
        return None


class Summary(Unlimited):
    """The sum, the least and the greatest value: together, since one call for all is what costs."""

    total: float = 0.0
    least: float = math.inf
    greatest: float = -math.inf

    def add(self, value: float, time: int) -> None:
        """Take in one value."""
        del time
        self.total += value
        if value < self.least:  # noqa: PLR1730  # calling min takes three times as long
            self.least = value
        if value > self.greatest:  # noqa: PLR1730
            self.greatest = value

    def merge(self, later: Summary) -> None:
        """Take in the other's values."""
        self.total += later.total
        self.least = min(self.least, later.least)
        self.greatest = max(self.greatest, later.greatest)


class Spread(Unlimited):
    """Mean and squared deviations from it, by Welford's method: exact also for large values close together."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float, time: int) -> None:
        """Take in one value."""
        del time
        self.count += 1
        delta = value - self.mean
        self.mean += delta / self.count
        self.squares += delta * (value - self.mean)

    def merge(self, later: Spread) -> None:
        """Take in the other's values (Chan's parallel form)."""
        count = self.count + later.count
        if count:
            delta = later.mean - self.mean
            self.squares += later.squares + delta * delta * self.count * later.count / count
            self.mean += delta * later.count / count
        self.count = count

    def deviation(self) -> float | None:
        """Return the standard deviation of the sample; ``None`` for fewer than two values."""
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else None


class Direction(Unlimited):
    """The sum of unit vectors, for angles in degrees."""

    east: float = 0.0
    north: float = 0.0

    def add(self, value: float, time: int) -> None:
        """Take in one angle."""
        del time
        angle = math.radians(value)
        self.east += math.sin(angle)
        self.north += math.cos(angle)

    def merge(self, later: Direction) -> None:
        """Take in the other's angles."""
        self.east += later.east
        self.north += later.north

    def mean(self, count: int) -> float | None:
        """Return the mean angle, 0 to 360; ``None`` when the angles cancel each other out."""
        if math.hypot(self.east, self.north) < 1e-9 * count:
            return None
        return math.degrees(math.atan2(self.east, self.north)) % 360.0 % 360.0


class Ends(Unlimited):
    """The first and the last value; of values at the same time, the order of arrival counts."""

    first: Any = None
    first_time: int | None = None
    last: Any = None
    last_time: int | None = None

    def add(self, value: Any, time: int) -> None:
        """Keep the value if it is the first or the last so far."""
        if self.first_time is None or time < self.first_time:
            self.first, self.first_time = value, time
        if self.last_time is None or time >= self.last_time:
            self.last, self.last_time = value, time

    def merge(self, later: Ends) -> None:
        """Take the last value from the other, and the first if there is none yet."""
        if self.first_time is None:
            self.first, self.first_time = later.first, later.first_time
        self.last, self.last_time = later.last, later.last_time

    def slope(self, unit: int) -> float | None:
        """Return the change from first to last per ``unit`` nanoseconds; ``None`` when no time lies between."""
        elapsed = (self.last_time or 0) - (self.first_time or 0)
        return (self.last - self.first) * unit / elapsed if elapsed else None
