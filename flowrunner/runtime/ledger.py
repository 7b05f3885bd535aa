"""The books of a flow: every message that came in is accounted for, at any moment.

``received + created = written + filtered + aggregated + dead_lettered + dropped + held``

*received* are the records that sources handed over, and dead letters that are replayed; *created* are messages that
nodes made in addition (window results, elements of a split) and the copies that a fan-out makes for its second and
further wires; *held* is everything that has not ended: in the journal, in channels, in windows and throttles, in the
hands of a sink.
"""

from __future__ import annotations

from typing import Any

import msgspec

from flowrunner.counters import Counters
from flowrunner.runtime.assemble import Assembly
from flowrunner.runtime.pump import Pump
from flowrunner.runtime.sources import JournalContext

AFTER_JOURNAL = frozenset({"error", "unwired"})
"""Reasons for which a source's messages are dropped behind the journal; all others keep them out of it."""


class Ledger(msgspec.Struct, frozen=True):
    """The sums of one flow since its first start (durable flows) or its last (``delivery: memory``)."""

    received: int
    created: int
    written: int
    filtered: int
    aggregated: int
    dead_lettered: int
    dropped: dict[str, int]
    held: int
    """What nodes, channels and the journal hold, each counted where it lies."""

    def as_dict(self) -> dict[str, Any]:
        """Return the sums by name, with ``unaccounted`` for the balance."""
        return {**msgspec.structs.asdict(self), "unaccounted": self.balance}

    @property
    def balance(self) -> int:
        """Messages that came in less those accounted for: 0, or flowrunner has a bug."""
        ends = self.written + self.filtered + self.aggregated + self.dead_lettered + self.held
        return self.received + self.created - ends - sum(self.dropped.values())


def ledger(assembly: Assembly, pump: Pump, retired: Counters) -> Ledger:
    """Return the books of a flow now; ``retired`` are the counters of nodes that earlier versions had."""
    everyone = [context.counters for context in assembly.contexts.values()] + [retired]
    everyone += [sink.outlet.context.counters for sink in assembly.leaving]
    dropped: dict[str, int] = {}
    for counters in everyone:
        for reason, count in counters.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
    return Ledger(
        received=sum(_received(intake, pump) for intake in assembly.intakes.values())
        + retired.received
        + pump.backlog
        - pump.lost,
        created=sum(counters.created + counters.copied for counters in everyone),
        written=sum(counters.written for counters in everyone),
        filtered=sum(counters.filtered for counters in everyone),
        aggregated=sum(counters.aggregated for counters in everyone),
        dead_lettered=sum(counters.dead_lettered for counters in everyone),
        dropped=dropped,
        held=sum(counters.held for counters in everyone) + under_way(assembly) + in_journal(assembly, pump),
    )


def in_journal(assembly: Assembly, pump: Pump) -> int:
    """Return the records that were received and that the pump has not read yet."""
    intakes = assembly.intakes.values()
    read = sum(_read(intake, pump) for intake in intakes)
    return sum(_received(intake, pump) for intake in intakes) - read + pump.backlog - pump.lost


def kept_out(counters: Counters) -> int:
    """Return the records that a source dropped before they reached the journal."""
    return sum(count for reason, count in counters.dropped.items() if reason not in AFTER_JOURNAL)


def _read(intake: JournalContext, pump: Pump) -> int:
    return pump.pumped.get(intake.node, 0) + kept_out(intake.counters)


def _received(intake: JournalContext, pump: Pump) -> int:
    """Return what came in; the pump may have read a record whose commit the source has not heard of yet."""
    return max(intake.counters.received, _read(intake, pump))


def under_way(assembly: Assembly) -> int:
    """Return the messages on wires: in channels, and between two transforms of a stage."""
    targets = [step.inbox for step in assembly.steps.values()]
    targets += [target for ends in assembly.ends for target, _ in ends.channels]
    between = sum(len(messages) for target in targets for messages in target.lists)
    between += sum(step.waiting for step in assembly.steps.values())
    between += sum(sink.inbox.depth for sink in assembly.leaving)
    return between + sum(channel.depth for channel in assembly.channels.values())
