"""What happened at a node, counted so that nothing can be lost without being missed."""

from __future__ import annotations


class Counters:
    """What happened at one node, as plain integers that are written once a batch and read at a scrape.

    For every transform and sink, at any moment between two batches::

        received + created = filtered + aggregated + written + dead_lettered + sum(dropped) + held + sum(emitted)
    """

    __slots__ = (
        "aggregated",
        "batches",
        "busy_ns",
        "copied",
        "created",
        "dead_lettered",
        "dropped",
        "emitted",
        "errors",
        "filtered",
        "held",
        "received",
        "retries",
        "written",
    )

    def __init__(self) -> None:
        self.received = 0
        self.created = 0
        """Messages the node made beyond the ones it received: window results, elements of a split."""
        self.copied = 0
        """Copies that the engine made for the second and further wires of a port; not part of the identity."""
        self.filtered = 0
        self.aggregated = 0
        """Messages whose last window has closed."""
        self.written = 0
        self.dead_lettered = 0
        self.errors = 0
        """Messages that failed here, wherever they went then."""
        self.held = 0
        """Messages the node keeps for later: in open windows, throttles, delays."""
        self.dropped: dict[str, int] = {}
        self.emitted: dict[str, int] = {}
        self.retries = 0
        self.batches = 0
        self.busy_ns = 0

    def drop(self, reason: str, count: int = 1) -> None:
        """Count ``count`` messages as dropped for ``reason`` (a fixed word of the node type, never data)."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def balance(self) -> int:
        """Return received + created less every end and every emission: 0 when nothing is lost or doubled."""
        ends = self.filtered + self.aggregated + self.written + self.dead_lettered + self.held
        return self.received + self.created - ends - sum(self.dropped.values()) - sum(self.emitted.values())
