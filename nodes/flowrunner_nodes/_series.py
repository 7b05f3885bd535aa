"""The accumulators of `aggregate` for which the order of the values in time counts.

Values may come out of order as long as their window is open, so the newest are kept as they came, 16 bytes each, and
put into order when a window closes. When they become too many the older half is folded into a summary: from then on a
value older than those is refused, since its place is gone.
"""

from __future__ import annotations

import struct
from typing import ClassVar, Self

import msgspec

MOST_SAMPLES = 4_096
"""Samples of one key and pane that are kept unfolded; half as many may come out of order at the least."""

_SAMPLE = struct.Struct("<qd")
_pack = _SAMPLE.pack
_LIMIT = MOST_SAMPLES * _SAMPLE.size


class Series(msgspec.Struct, gc=False, array_like=True):
    """Samples in order of time, of equal times in order of arrival, and a sum over each two neighbours.

    Two summaries of neighbouring stretches make a summary of both, which is all that panes need.
    """

    samples: bytearray = msgspec.field(default_factory=bytearray)
    """Time (ns) and value of the samples that are not folded yet."""
    first_time: int | None = None
    first: float = 0.0
    last_time: int = 0
    last: float = 0.0
    sum: float = 0.0
    """Of ``step`` over all neighbours from the first folded sample to the last."""

    limited: ClassVar[bool] = True

    @staticmethod
    def step(before: float, after: float, elapsed: int) -> float:
        """Return what two neighbouring values, ``elapsed`` nanoseconds apart, add to the sum."""
        raise NotImplementedError

    def add(self, value: float, time: int) -> None:
        """Keep one sample."""
        samples = self.samples
        samples += _pack(time, value)
        if len(samples) >= _LIMIT:
            self._fold_older()

    def refusal(self, value: float, time: int) -> str | None:
        """Return a reason when the sample's neighbours in time have been folded already."""
        del value
        if self.first_time is None or time >= self.last_time:
            return None
        return f"it is out of order by more than {MOST_SAMPLES // 2} messages of its key"

    def merge(self, later: Self) -> None:
        """Take in the samples of a later pane; leaves a summary without single samples."""
        self.settle()
        if later.first_time is not None:
            self._join(later.first_time, later.first)
            self.sum += later.sum
            self.last_time, self.last = later.last_time, later.last
        self.fold(later.ordered())

    def settle(self) -> None:
        """Fold all samples: no more are to come."""
        self.fold(self.ordered())
        self.samples = bytearray()

    def settled_last(self) -> float | None:
        """Return the last value, ``None`` when there was none; no more are to come."""
        self.settle()
        return None if self.first_time is None else self.last

    def ordered(self) -> list[tuple[int, float]]:
        """Return time and value of the samples that are not folded yet, in order."""
        samples: list[tuple[int, float]] = list(_SAMPLE.iter_unpack(self.samples))
        samples.sort(key=_time)
        return samples

    def fold(self, samples: list[tuple[int, float]]) -> None:
        """Add samples, in order and none earlier than the last, to the summary."""
        for time, value in samples:
            self._join(time, value)

    def _join(self, time: int, value: float) -> None:
        if self.first_time is None:
            self.first_time, self.first = time, value
        else:
            self.sum += self.step(self.last, value, time - self.last_time)
        self.last_time, self.last = time, value

    def _fold_older(self) -> None:
        samples = self.ordered()
        half = len(samples) // 2
        self.fold(samples[:half])
        self.samples = bytearray(b"".join(_pack(time, value) for time, value in samples[half:]))


def _time(sample: tuple[int, float]) -> int:
    return sample[0]


class Area(Series):
    """The area under a value that holds until the next one comes, in value times nanoseconds."""

    @staticmethod
    def step(before: float, after: float, elapsed: int) -> float:
        """Return the area between two samples."""
        del after
        return before * elapsed

    def within(self, start: int, end: int, carried: float | None) -> tuple[float, int]:
        """Return the area in a window and over how many nanoseconds it extends.

        ``carried`` is the value that held when the window began, if it is known; else the area begins with the
        first sample.
        """
        self.settle()
        first_time = start if self.first_time is None else self.first_time
        area = self.sum + self.last * (end - self.last_time)
        if carried is None:
            return area, end - first_time
        return area + carried * (first_time - start), end - start


class Growth(Series):
    """By how much a counter has grown; one that is less than before has begun again from zero."""

    @staticmethod
    def step(before: float, after: float, elapsed: int) -> float:
        """Return the growth from one reading to the next."""
        del elapsed
        return after - before if after >= before else after

    def since(self, carried: float | None, count: int) -> float | None:
        """Return the growth from the reading ``carried`` from before, over ``count`` readings.

        Without one the growth is that between the readings, and ``None`` when there is only one.
        """
        self.settle()
        if carried is not None:
            return self.step(carried, self.first, 0) + self.sum
        return self.sum if count > 1 else None
