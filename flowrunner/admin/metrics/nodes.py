"""The metrics of nodes, of the channels and outboxes in front of them, and of connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric

from flowrunner.admin.metrics.families import TOPICS, WORDS, bounded, counter, gauge
from flowrunner.counters import Counters
from flowrunner.message import NANOSECONDS
from flowrunner.runtime.outbox.task import OutboxTask
from flowrunner.runtime.supervisor import Flow

STATUS = {"starting": 0, "running": 1, "degraded": 2, "failed": 3, "stopping": 4, "stopped": 5}

type _Kind = Literal["source", "transform", "sink"]

_ALL: tuple[_Kind, ...] = ("source", "transform", "sink")


class _Count(msgspec.Struct, frozen=True):
    """One counter of nodes: for the kinds that can count it, and wherever it is not zero."""

    name: str
    text: str
    read: Callable[[Counters], float]
    kinds: tuple[_Kind, ...] = _ALL


_COUNTS = (
    _Count(
        "messages_received",
        "Messages that a node was given, or that a source handed over.",
        lambda c: c.received,
    ),
    _Count(
        "messages_created",
        "Messages that a node made beyond those it received.",
        lambda c: c.created,
        ("transform",),
    ),
    _Count("messages_filtered", "Messages that a node filtered out.", lambda c: c.filtered, ("transform",)),
    _Count(
        "messages_aggregated",
        "Messages whose last window has closed.",
        lambda c: c.aggregated,
        ("transform",),
    ),
    _Count(
        "messages_written",
        "Messages that the world has accepted from a sink.",
        lambda c: c.written,
        ("sink",),
    ),
    _Count(
        "messages_dead_lettered",
        "Messages that ended in the dead-letter store.",
        lambda c: c.dead_lettered,
    ),
    _Count("messages_errors", "Messages that failed at a node, wherever they went then.", lambda c: c.errors),
    _Count("retries", "Attempts at a batch that the world did not accept.", lambda c: c.retries, ("sink",)),
    _Count(
        "busy_seconds",
        "Time that a transform has worked.",
        lambda c: c.busy_ns / NANOSECONDS,
        ("transform",),
    ),
)


class Nodes:
    """What happened at each node, and how it is."""

    def __init__(self) -> None:
        labels = ("flow", "node", "type")
        self._counts = [(each, counter("node_" + each.name, each.text, *labels)) for each in _COUNTS]
        self._emitted = counter(
            "node_messages_emitted", "Messages that left a node, by port.", *labels, "port"
        )
        self._dropped = counter(
            "node_messages_dropped", "Messages that a node dropped, by reason.", *labels, "reason"
        )
        self._held = gauge("node_held", "Messages that a node keeps for later.", *labels)
        self._status = gauge(
            "node_status", "0 starting, 1 running, 2 degraded, 3 failed, 4 stopping, 5 stopped.", *labels
        )

    def add(self, name: str, flow: Flow, now: int) -> None:
        """Add the nodes of the running version."""
        del now
        graph = flow.runner.graph
        for node, context in flow.runner.assembly.contexts.items():
            type, counters = graph.nodes[node].type, context.counters
            values = [name, node, type.name]
            for each, family in self._counts:
                value = each.read(counters)
                if value or type.kind in each.kinds:
                    family.add_metric(values, value)
            _by_word(self._emitted, values, counters.emitted)
            _by_word(self._dropped, values, counters.dropped)
            if type.kind != "source":
                self._held.add_metric(values, counters.held)
            self._status.add_metric(values, STATUS[context.status])

    def families(self) -> Iterator[Metric]:
        """Return the metrics."""
        for _, family in self._counts:
            yield family
        yield from (self._emitted, self._dropped, self._held, self._status)


class Channels:
    """How full the channels in front of nodes are; several in front of one node are added up."""

    def __init__(self) -> None:
        labels = ("flow", "node")
        self._depth = gauge("channel_depth", "Messages in the channel of a node.", *labels)
        self._capacity = gauge("channel_capacity", "Messages the channel holds.", *labels)
        self._blocked = counter(
            "channel_blocked_seconds", "Time that producers waited for a channel.", *labels
        )

    def add(self, name: str, flow: Flow, now: int) -> None:
        """Add the channels of the running version."""
        del now
        sums: dict[str, list[float]] = {}
        for (_, node), channel in flow.runner.assembly.channels.items():
            sum_ = sums.setdefault(node, [0, 0, 0])
            sum_[0] += channel.depth
            sum_[1] += channel.capacity
            sum_[2] += channel.blocked_seconds
        for node, values in sums.items():
            depth, capacity, blocked = values
            self._depth.add_metric([name, node], depth)
            self._capacity.add_metric([name, node], capacity)
            self._blocked.add_metric([name, node], blocked)

    def families(self) -> Iterator[Metric]:
        """Return the metrics."""
        yield from (self._depth, self._capacity, self._blocked)


class Outboxes:
    """What waits on disk in front of sinks."""

    def __init__(self) -> None:
        labels = ("flow", "node")
        self._size = gauge("outbox_bytes", "What an outbox takes on disk.", *labels)
        self._messages = gauge("outbox_messages", "Messages in an outbox.", *labels)
        self._oldest = gauge(
            "outbox_oldest_seconds", "Age of about the oldest message in an outbox.", *labels
        )

    def add(self, name: str, flow: Flow, now: int) -> None:
        """Add the outboxes of the running version."""
        for node, sink in flow.runner.assembly.sinks.items():
            if isinstance(sink, OutboxTask):
                outbox, waiting = sink.outbox, sink.outbox.oldest_clock
                self._size.add_metric([name, node], outbox.disk_bytes)
                self._messages.add_metric([name, node], outbox.messages)
                age = max(0.0, (now - waiting) / NANOSECONDS) if waiting else 0.0
                self._oldest.add_metric([name, node], age)

    def families(self) -> Iterator[Metric]:
        """Return the metrics."""
        yield from (self._size, self._messages, self._oldest)


class Connections:
    """How the connections are, and what happened to them."""

    def __init__(self) -> None:
        labels = ("flow", "connection")
        self._up = gauge("connection_up", "Whether a connection is up.", *labels)
        self._reconnects = counter("connection_reconnects", "How often a connection was made anew.", *labels)
        self._events = counter(
            "connection_events", "What happened to a connection, by kind.", *labels, "reason"
        )

    def add(self, name: str, flow: Flow, now: int) -> None:
        """Add the connections of the running version."""
        del now
        for connection in flow.runner.assembly.connections.values():
            context = connection.context
            values = [name, context.name]
            self._up.add_metric(values, float(context.up))
            self._reconnects.add_metric(values, context.reconnects)
            _by_word(self._events, values, context.counts)

    def families(self) -> Iterator[Metric]:
        """Return the metrics."""
        yield from (self._up, self._reconnects, self._events)


class Gaps:
    """What sources know that they missed: the one metric with a label from data, and therefore bounded."""

    def __init__(self) -> None:
        self._seconds = counter(
            "gap_seconds",
            "Seconds of which a source knows that it missed what came.",
            "flow",
            "node",
            "topic",
        )

    def add(self, name: str, flow: Flow, now: int) -> None:
        """Add the sources of the running version."""
        del now
        for node, source in flow.runner.assembly.sources.items():
            for topic, seconds in bounded(source.context.gaps, TOPICS).items():
                self._seconds.add_metric([name, node, topic], seconds)

    def families(self) -> Iterator[Metric]:
        """Return the metric."""
        yield self._seconds


def _by_word(family: CounterMetricFamily, values: list[str], counts: dict[str, int]) -> None:
    for word, count in bounded(counts, WORDS).items():
        family.add_metric([*values, word], count)
