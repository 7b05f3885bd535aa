"""Prometheus metrics: read from the nodes' plain integers at scrape time; nothing is counted twice.

Labels are names from the configuration only, so data cannot raise their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from flowrunner.admin.process import Process
from flowrunner.counters import Counters
from flowrunner.message import NANOSECONDS
from flowrunner.runtime.outbox_task import OutboxTask
from flowrunner.runtime.supervisor import Flow

STATUS = {"starting": 0, "running": 1, "degraded": 2, "failed": 3, "stopping": 4, "stopped": 5}

_NODE_COUNTERS: list[tuple[str, str, Callable[[Counters], float]]] = [
    (
        "messages_received",
        "Messages that a node was given, or that a source handed over.",
        lambda c: c.received,
    ),
    ("messages_created", "Messages that a node made beyond those it received.", lambda c: c.created),
    ("messages_filtered", "Messages that a node filtered out.", lambda c: c.filtered),
    ("messages_aggregated", "Messages whose last window has closed.", lambda c: c.aggregated),
    ("messages_written", "Messages that the world has accepted from a sink.", lambda c: c.written),
    ("messages_dead_lettered", "Messages that ended in the dead-letter store.", lambda c: c.dead_lettered),
    ("messages_errors", "Messages that failed at a node, wherever they went then.", lambda c: c.errors),
    ("retries", "Attempts at a batch that the world did not accept.", lambda c: c.retries),
    ("busy_seconds", "Time that a transform has worked.", lambda c: c.busy_ns / NANOSECONDS),
]


def metrics_text(process: Process) -> bytes:
    """Return the metrics of the process in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Metrics(process))
    return generate_latest(registry)


class _Metrics(Collector):
    def __init__(self, process: Process) -> None:
        self._process = process

    def collect(self) -> Iterator[Metric]:
        flows = list(self._process.supervisor.flows.items())
        yield from _nodes(flows)
        yield from _channels(flows)
        yield from _outboxes(flows, self._process.clock.now())
        yield from _books(flows)
        yield from _progress(flows, self._process.clock.now())
        yield from _connections(flows)
        yield from _losses(flows)
        yield _gaps(flows)
        yield from _versions(flows, self._process)

    def describe(self) -> list[Metric]:
        """Return nothing: the families depend on the flows."""
        return []


type _Flows = list[tuple[str, Flow]]


def _nodes(flows: _Flows) -> Iterator[Metric]:
    labels = ["flow", "node", "type"]
    families: list[CounterMetricFamily] = [
        CounterMetricFamily("flowrunner_node_" + name, text, labels=labels)
        for name, text, _ in _NODE_COUNTERS
    ]
    emitted = CounterMetricFamily(
        "flowrunner_node_messages_emitted", "Messages that left a node, by port.", labels=[*labels, "port"]
    )
    dropped = CounterMetricFamily(
        "flowrunner_node_messages_dropped",
        "Messages that a node dropped, by reason.",
        labels=[*labels, "reason"],
    )
    held = GaugeMetricFamily("flowrunner_node_held", "Messages that a node keeps for later.", labels=labels)
    status = GaugeMetricFamily(
        "flowrunner_node_status",
        "0 starting, 1 running, 2 degraded, 3 failed, 4 stopping, 5 stopped.",
        labels=labels,
    )
    for flow_name, flow in flows:
        for name, context in flow.runner.assembly.contexts.items():
            counters = context.counters
            values = [flow_name, name, flow.graph.nodes[name].type.name if name in flow.graph.nodes else ""]
            for family, (_, _, read) in zip(families, _NODE_COUNTERS, strict=True):
                family.add_metric(values, read(counters))
            for port, count in counters.emitted.items():
                emitted.add_metric([*values, port], count)
            for reason, count in counters.dropped.items():
                dropped.add_metric([*values, reason], count)
            held.add_metric(values, counters.held)
            status.add_metric(values, STATUS[context.status])
    yield from families
    yield from (emitted, dropped, held, status)


def _channels(flows: _Flows) -> Iterator[Metric]:
    labels = ["flow", "node"]
    depth = GaugeMetricFamily("flowrunner_channel_depth", "Messages in the channel of a node.", labels=labels)
    capacity = GaugeMetricFamily("flowrunner_channel_capacity", "Messages the channel holds.", labels=labels)
    blocked = CounterMetricFamily(
        "flowrunner_channel_blocked_seconds", "Time that producers waited for a channel.", labels=labels
    )
    for flow_name, flow in flows:
        sums: dict[str, list[float]] = {}
        for (_, node), channel in flow.runner.assembly.channels.items():
            sum_ = sums.setdefault(node, [0, 0, 0])
            sum_[0] += channel.depth
            sum_[1] += channel.capacity
            sum_[2] += channel.blocked_seconds
        for node, (depth_, capacity_, blocked_) in sums.items():
            depth.add_metric([flow_name, node], depth_)
            capacity.add_metric([flow_name, node], capacity_)
            blocked.add_metric([flow_name, node], blocked_)
    yield from (depth, capacity, blocked)


def _outboxes(flows: _Flows, now: int) -> Iterator[Metric]:
    labels = ["flow", "node"]
    size = GaugeMetricFamily("flowrunner_outbox_bytes", "What an outbox takes on disk.", labels=labels)
    messages = GaugeMetricFamily("flowrunner_outbox_messages", "Messages in an outbox.", labels=labels)
    oldest = GaugeMetricFamily(
        "flowrunner_outbox_oldest_seconds", "Age of about the oldest message in an outbox.", labels=labels
    )
    for flow_name, flow in flows:
        for name, sink in flow.runner.assembly.sinks.items():
            if isinstance(sink, OutboxTask):
                outbox, waiting = sink.outbox, sink.outbox.oldest_clock
                size.add_metric([flow_name, name], outbox.disk_bytes)
                messages.add_metric([flow_name, name], outbox.messages)
                oldest.add_metric(
                    [flow_name, name], max(0.0, (now - waiting) / NANOSECONDS) if waiting else 0.0
                )
    yield from (size, messages, oldest)


def _books(flows: _Flows) -> Iterator[Metric]:
    received = CounterMetricFamily(
        "flowrunner_flow_messages_received", "Records that sources handed over.", labels=["flow"]
    )
    created = CounterMetricFamily(
        "flowrunner_flow_messages_created", "Messages made by nodes and by fan-outs.", labels=["flow"]
    )
    ended = CounterMetricFamily(
        "flowrunner_flow_messages_ended", "Messages that have ended, and how.", labels=["flow", "reason"]
    )
    held = GaugeMetricFamily(
        "flowrunner_flow_messages_held", "Messages in the journal, in channels, in nodes.", labels=["flow"]
    )
    unaccounted = GaugeMetricFamily(
        "flowrunner_flow_messages_unaccounted",
        "received + created - ended - held; anything but 0 is a bug in flowrunner.",
        labels=["flow"],
    )
    for name, flow in flows:
        books = flow.runner.ledger
        received.add_metric([name], books.received)
        created.add_metric([name], books.created)
        ends = {"written": books.written, "filtered": books.filtered, "aggregated": books.aggregated}
        ends |= {"dead_lettered": books.dead_lettered, "dropped": sum(books.dropped.values())}
        for reason, count in ends.items():
            ended.add_metric([name, reason], count)
        held.add_metric([name], books.held)
        unaccounted.add_metric([name], books.balance)
    yield from (received, created, ended, held, unaccounted)


def _progress(flows: _Flows, now: int) -> Iterator[Metric]:
    def gauge(name: str, text: str) -> GaugeMetricFamily:
        return GaugeMetricFamily("flowrunner_" + name, text, labels=["flow"])

    lag = gauge("flow_lag_seconds", "How far the flow is behind: now less the arrival it has come to.")
    size = gauge("journal_bytes", "What the journal takes on disk.")
    oldest = gauge("journal_oldest_seconds", "Age of the oldest record that is not done with.")
    seconds = gauge("checkpoint_seconds", "How long the last checkpoint took.")
    age = gauge("checkpoint_age_seconds", "Time since the last checkpoint.")
    latency = HistogramMetricFamily(
        "flowrunner_flow_latency_seconds",
        "From a message's arrival to a sink's acknowledgement.",
        labels=["flow"],
    )
    for name, flow in flows:
        runner, journal = flow.runner, flow.storage.journal
        behind = journal.last > runner.pump.position
        lag.add_metric([name], max(0.0, (now - runner.pump.clock) / NANOSECONDS) if behind else 0.0)
        size.add_metric([name], journal.bytes)
        waiting = journal.oldest_clock
        oldest.add_metric([name], max(0.0, (now - waiting) / NANOSECONDS) if waiting else 0.0)
        seconds.add_metric([name], runner.checkpointer.seconds)
        age.add_metric([name], runner.checkpointer.age)
        latency.add_metric([name], runner.latency.cumulative(), runner.latency.total)
    yield from (lag, size, oldest, seconds, age, latency)


def _connections(flows: _Flows) -> Iterator[Metric]:
    labels = ["flow", "connection"]
    up = GaugeMetricFamily("flowrunner_connection_up", "Whether a connection is up.", labels=labels)
    reconnects = CounterMetricFamily(
        "flowrunner_connection_reconnects", "How often a connection was made anew.", labels=labels
    )
    events = CounterMetricFamily(
        "flowrunner_connection_events", "What happened to a connection, by kind.", labels=[*labels, "reason"]
    )
    for name, flow in flows:
        for connection in flow.runner.assembly.connections.values():
            context = connection.context
            values = [name, context.name]
            up.add_metric(values, float(context.up))
            reconnects.add_metric(values, context.reconnects)
            for reason, count in context.counts.items():
                events.add_metric([*values, reason], count)
    yield from (up, reconnects, events)


def _losses(flows: _Flows) -> Iterator[Metric]:
    letters = GaugeMetricFamily(
        "flowrunner_dead_letters", "Messages in the dead-letter store.", labels=["flow", "node"]
    )
    size = GaugeMetricFamily("flowrunner_dead_letters_bytes", "What they take.", labels=["flow"])
    ended = CounterMetricFamily(
        "flowrunner_dead_letters_ended",
        "Dead letters that are not there any more, and why.",
        labels=["flow", "node", "reason"],
    )
    damaged = CounterMetricFamily(
        "flowrunner_journal_damaged_records",
        "Records lost with broken files of the journal.",
        labels=["flow"],
    )
    files = CounterMetricFamily(
        "flowrunner_state_damaged_files", "Files and checkpoints found broken.", labels=["flow"]
    )
    for name, flow in flows:
        store, damage = flow.storage.store, flow.storage.journal.damaged
        for node in flow.runner.graph.nodes.keys() | store.letters.kept.keys():
            letters.add_metric([name, node], store.letters.kept.get(node, 0))
        size.add_metric([name], store.letters.bytes)
        for (node, reason), count in store.letters.ended.items():
            ended.add_metric([name, node, reason], count)
        damaged.add_metric([name], damage.entries)
        files.add_metric([name], damage.files + store.damaged)
    yield from (letters, size, ended, damaged, files)


def _gaps(flows: _Flows) -> Metric:
    seconds = CounterMetricFamily(
        "flowrunner_gap_seconds",
        "Seconds of which a source knows that it missed what came.",
        labels=["flow", "node", "topic"],
    )
    for name, flow in flows:
        for node, source in flow.runner.assembly.sources.items():
            for topic, gap in source.context.gaps.items():
                seconds.add_metric([name, node, topic], gap)
    return seconds


def _versions(flows: _Flows, process: Process) -> Iterator[Metric]:
    generation = GaugeMetricFamily(
        "flowrunner_flow_generation", "Versions of the flow so far.", labels=["flow"]
    )
    restarts = CounterMetricFamily("flowrunner_flow_restarts", "Restarts after a crash.", labels=["flow"])
    info = GaugeMetricFamily("flowrunner_flow_info", "The version that is running.", labels=["flow", "hash"])
    for name, flow in flows:
        generation.add_metric([name], flow.generation)
        restarts.add_metric([name], flow.restarts)
        info.add_metric([name, flow.graph.digest[:12]], 1)
    reloads = CounterMetricFamily("flowrunner_reload", "Reloads of flows, by result.", labels=["result"])
    for result, count in process.reloader.results.items():
        reloads.add_metric([result], count)
    lag = GaugeMetricFamily("flowrunner_event_loop_lag_seconds", "How late the event loop is.")
    lag.add_metric([], process.loop_lag)
    build = GaugeMetricFamily("flowrunner_build_info", "The version of flowrunner.", labels=["version"])
    build.add_metric([process.version], 1)
    yield from (generation, restarts, info, reloads, lag, build)
