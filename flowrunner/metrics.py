"""A histogram of plain integers, cheap enough to be fed once a message; read at a scrape."""

from __future__ import annotations

from bisect import bisect_left

BUCKETS = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0, 3600.0)
"""Upper bounds in seconds; the last bucket of a histogram has none. Few: each is a series of each flow."""


class Histogram:
    """Counts of observations by bucket, their sum and number."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation; what a clock that was set back makes negative counts as nothing."""
        seconds = max(0.0, seconds)
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """Return ``(upper bound, count up to it)`` pairs in the form that Prometheus wants."""
        pairs: list[tuple[str, float]] = []
        running = 0
        for bound, count in zip((*BUCKETS, float("inf")), self.counts, strict=True):
            running += count
            pairs.append(("+Inf" if bound == float("inf") else repr(bound), float(running)))
        return pairs
