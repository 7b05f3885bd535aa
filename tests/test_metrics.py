"""The histogram behind the latency metric."""

from __future__ import annotations

import pytest

from flowrunner.metrics import BUCKETS, Histogram


def test_an_observation_counts_in_its_bucket_and_all_wider_ones() -> None:
    histogram = Histogram()
    for seconds in (0.005, 0.0051, 3.0, 10_000.0):
        histogram.observe(seconds)

    pairs = dict(histogram.cumulative())
    assert (1, 2, 2, 3, 3, 4) == tuple(
        pairs[bound] for bound in ("0.005", "0.025", "2.5", "10.0", "3600.0", "+Inf")
    )
    assert 10_003.0101 == pytest.approx(histogram.total)
    assert len(BUCKETS) + 1 == len(pairs)


def test_a_negative_time_counts_as_none() -> None:
    histogram = Histogram()
    histogram.observe(-3600.0)

    assert (0.0, 1) == (histogram.total, histogram.counts[0])
