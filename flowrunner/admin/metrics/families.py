"""What the groups of metrics are made of, and the bound that data cannot break."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from flowrunner.runtime.supervisor import Flow

REST = "other"
"""The label of the series that holds the sum of what has no series of its own."""
WORDS = 32
"""Reasons and ports of one node, and events of one connection, with a series of their own."""
TOPICS = 100
"""Topics of one source with a series of their own: the only label that is taken from data."""


class Group(Protocol):
    """Some metrics: filled flow by flow, then exported."""

    def add(self, name: str, flow: Flow, now: int) -> None:
        """Add the samples of a flow; ``now`` in nanoseconds."""

    def families(self) -> Iterator[Metric]:
        """Return the metrics with the samples added so far."""


def counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    """Return a counter; its name is exported with ``_total``."""
    return CounterMetricFamily("flowrunner_" + name, text, labels=labels)


def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    """Return a gauge."""
    return GaugeMetricFamily("flowrunner_" + name, text, labels=labels)


def bounded[N: (int, float)](values: Mapping[str, N], limit: int) -> dict[str, N]:
    """Return the first ``limit`` values by name, and the sum of the others as ``other``.

    The first in the order of the mapping, which only grows: a value never moves from one series to another.
    """
    if len(values) <= limit:
        return dict(values)
    result: dict[str, N] = {}
    for number, (name, value) in enumerate(values.items()):
        kept = name if number < limit else REST
        result[kept] = result[kept] + value if kept in result else value
    return result
