"""The metrics of flows: their books, how far they have come, what they lost, which version runs."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from flowrunner.admin.metrics.families import counter, gauge
from flowrunner.message import NANOSECONDS
from flowrunner.runtime.supervisor import Flow


class Books:
    """What came in and what became of it."""

    def __init__(self) -> None:
        self._received = counter("flow_messages_received", "Records that sources handed over.", "flow")
        self._created = counter("flow_messages_created", "Messages made by nodes and by fan-outs.", "flow")
        self._ended = counter("flow_messages_ended", "Messages that have ended, and how.", "flow", "reason")
        self._held = gauge("flow_messages_held", "Messages in the journal, in channels, in nodes.", "flow")
        self._unaccounted = gauge(
            "flow_messages_unaccounted",
            "received + created - ended - held; anything but 0 is a bug in flowrunner.",
            "flow",
        )

    def add(self, name: str, flow: Flow, now: int) -> None:
        """Add the books of a flow, all of one moment."""
        del now
        books = flow.runner.ledger
        self._received.add_metric([name], books.received)
        self._created.add_metric([name], books.created)
        ends = {"written": books.written, "filtered": books.filtered, "aggregated": books.aggregated}
        ends |= {"dead_lettered": books.dead_lettered, "dropped": sum(books.dropped.values())}
        for reason, count in ends.items():
            self._ended.add_metric([name, reason], count)
        self._held.add_metric([name], books.held)
        self._unaccounted.add_metric([name], books.balance)

    def families(self) -> Iterator[Metric]:
        """Return the metrics."""
        yield from (self._received, self._created, self._ended, self._held, self._unaccounted)


class Progress:
    """How far a flow is behind, what its journal takes, how its checkpoints go."""

    def __init__(self) -> None:
        self._lag = gauge(
            "flow_lag_seconds", "How far the flow is behind: now less the arrival it has come to.", "flow"
        )
        self._size = gauge("journal_bytes", "What the journal takes on disk.", "flow")
        self._oldest = gauge(
            "journal_oldest_seconds", "Age of the oldest record that is not done with.", "flow"
        )
        self._seconds = gauge("checkpoint_seconds", "How long the last checkpoint took.", "flow")
        self._age = gauge("checkpoint_age_seconds", "Time since the last checkpoint.", "flow")

    def add(self, name: str, flow: Flow, now: int) -> None:
        """Add the numbers of a flow."""
        runner, journal = flow.runner, flow.storage.journal
        behind = journal.last > runner.pump.position
        lag = max(0.0, (now - runner.pump.clock) / NANOSECONDS) if behind else 0.0
        self._lag.add_metric([name], lag)
        self._size.add_metric([name], journal.bytes)
        waiting = journal.oldest_clock
        self._oldest.add_metric([name], max(0.0, (now - waiting) / NANOSECONDS) if waiting else 0.0)
        self._seconds.add_metric([name], runner.checkpointer.seconds)
        self._age.add_metric([name], runner.checkpointer.age)

    def families(self) -> Iterator[Metric]:
        """Return the metrics."""
        yield from (self._lag, self._size, self._oldest, self._seconds, self._age)


class Latency:
    """How long messages take from their arrival to a sink's acknowledgement."""

    def __init__(self) -> None:
        self._latency = HistogramMetricFamily(
            "flowrunner_flow_latency_seconds",
            "From a message's arrival to a sink's acknowledgement.",
            labels=["flow"],
        )

    def add(self, name: str, flow: Flow, now: int) -> None:
        """Add the histogram of a flow."""
        del now
        histogram = flow.runner.latency
        self._latency.add_metric([name], histogram.cumulative(), histogram.total)

    def families(self) -> Iterator[Metric]:
        """Return the metric."""
        yield self._latency


class Losses:
    """What was kept aside, and what a disk has damaged."""

    def __init__(self) -> None:
        self._letters = gauge("dead_letters", "Messages in the dead-letter store.", "flow", "node")
        self._size = gauge("dead_letters_bytes", "What they take.", "flow")
        self._ended = counter(
            "dead_letters_ended",
            "Dead letters that are not there any more, and why.",
            "flow",
            "node",
            "reason",
        )
        self._records = counter(
            "journal_damaged_records", "Records lost with broken files of the journal.", "flow"
        )
        self._files = counter("state_damaged_files", "Files and checkpoints found broken.", "flow")

    def add(self, name: str, flow: Flow, now: int) -> None:
        """Add what the store of a flow says."""
        del now
        store, damage = flow.storage.store, flow.storage.journal.damaged
        for node in flow.runner.graph.nodes.keys() | store.letters.kept.keys():
            self._letters.add_metric([name, node], store.letters.kept.get(node, 0))
        self._size.add_metric([name], store.letters.bytes)
        for (node, reason), count in store.letters.ended.items():
            self._ended.add_metric([name, node, reason], count)
        self._records.add_metric([name], damage.entries)
        self._files.add_metric([name], damage.files + store.damaged)

    def families(self) -> Iterator[Metric]:
        """Return the metrics."""
        yield from (self._letters, self._size, self._ended, self._records, self._files)


class Versions:
    """Which version of a flow runs, and how often it was started."""

    def __init__(self) -> None:
        self._generation = gauge("flow_generation", "Versions of the flow so far.", "flow")
        self._restarts = counter("flow_restarts", "Restarts after a crash.", "flow")
        self._info = gauge("flow_info", "The version that is running.", "flow", "hash")

    def add(self, name: str, flow: Flow, now: int) -> None:
        """Add the running version."""
        del now
        self._generation.add_metric([name], flow.generation)
        self._restarts.add_metric([name], flow.restarts)
        self._info.add_metric([name, flow.graph.digest[:12]], 1)

    def families(self) -> Iterator[Metric]:
        """Return the metrics."""
        yield from (self._generation, self._restarts, self._info)
