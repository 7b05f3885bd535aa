"""The text of a scrape: flow by flow on the event loop, put into words beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from flowrunner.admin.metrics.families import Group, counter, gauge
from flowrunner.admin.metrics.flows import Books, Latency, Losses, Progress, Versions
from flowrunner.admin.metrics.nodes import Channels, Connections, Gaps, Nodes, Outboxes
from flowrunner.admin.process import Process
from flowrunner.catalog.catalog import Catalog
from flowrunner.errors import FlowrunnerError
from flowrunner.tracing.export import RESULTS

GROUPS: dict[str, type[Group]] = {
    "nodes": Nodes,
    "channels": Channels,
    "outboxes": Outboxes,
    "books": Books,
    "progress": Progress,
    "latency": Latency,
    "connections": Connections,
    "losses": Losses,
    "gaps": Gaps,
    "versions": Versions,
}
"""What a scrape may ask for with ``collect[]``; the metrics of the process come with every one."""


class UnknownGroupError(FlowrunnerError):
    """A scrape asks for a group that there is not."""


async def metrics_text(process: Process, wanted: Collection[str] = ()) -> bytes:
    """Return the metrics of the process in Prometheus' text format.

    ``wanted`` are names of :data:`GROUPS`, by default all of them. The numbers of one flow are of one moment; between
    two flows others may run, so that a scrape holds nobody up. Raises :class:`UnknownGroupError`.
    """
    unknown = sorted(set(wanted) - GROUPS.keys())
    if unknown:
        raise UnknownGroupError(f"there is no group {unknown[0]!r}: {', '.join(GROUPS)}")
    groups = [make() for name, make in GROUPS.items() if not wanted or name in wanted]
    for name, flow in list(process.supervisor.flows.items()):
        now = process.clock.now()
        for group in groups:
            group.add(name, flow, now)
        await asyncio.sleep(0)
    families = [family for group in groups for family in group.families()]
    return await asyncio.to_thread(_render, [*families, *_process(process)])


def _render(families: list[Metric]) -> bytes:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Ready(families))
    return generate_latest(registry)


class _Ready(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families

    def describe(self) -> list[Metric]:
        """Return nothing: the families are collected once."""
        return []


def _process(process: Process) -> Iterator[Metric]:
    reloads = counter("reload", "Reloads of flows, by result.", "result")
    for result, count in process.reloader.results.items():
        reloads.add_metric([result], count)
    lag = gauge("event_loop_lag_seconds", "How late the event loop is.")
    lag.add_metric([], process.watchdog.lag)
    p99 = gauge("event_loop_lag_p99_seconds", "How late 99 of 100 turns were at most, in ten minutes.")
    p99.add_metric([], process.watchdog.p99)
    stuck = counter("event_loop_stuck", "How often the event loop was found to stand still.")
    stuck.add_metric([], process.watchdog.stuck)
    journal = gauge("journal_max_bytes", "What the journal of one flow may take on disk.")
    journal.add_metric([], process.supervisor.settings.journal_max_bytes)
    spans = counter("trace_spans", "Spans that have ended, by what became of them.", "result")
    for became in RESULTS:
        spans.add_metric([became], 0 if process.tracing is None else process.tracing.counts[became])
    yield from _catalog(process.catalog)
    build = gauge("build_info", "The version of flowrunner.", "version")
    build.add_metric([process.version], 1)
    yield from (reloads, lag, p99, stuck, journal, spans, build)


def _catalog(catalog: Catalog | None) -> Iterator[Metric]:
    if catalog is None:
        return
    revisions = counter("catalog_revisions", "Revisions of flows, by what became of their record.", "result")
    retries = counter("catalog_retries", "Attempts at the catalog that failed and are made again.")
    revisions.add_metric(["written"], catalog.written)
    revisions.add_metric(["dropped"], catalog.dropped)
    retries.add_metric([], catalog.retries)
    yield from (revisions, retries)
