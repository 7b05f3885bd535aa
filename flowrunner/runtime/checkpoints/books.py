"""The counters of a node: as plain values, as checkpoints keep them, and what of them is the sink's own doing."""

from __future__ import annotations

from typing import Any

from flowrunner.counters import Counters

OUTBOX_FULL = "outbox_full"
"""The reason under which messages are dropped that an outbox has no room for."""
OUTBOX_DAMAGED = "outbox_damaged"
"""The reason under which messages are counted that the disk has lost."""
_BESIDE = frozenset({"buffer_full", OUTBOX_FULL, OUTBOX_DAMAGED})
"""Reasons for which the engine may drop messages while a sink is writing."""


def dump_counters(counters: Counters) -> dict[str, Any]:
    """Return the counters as plain values that do not change any more."""
    values = {name: getattr(counters, name) for name in Counters.__slots__}
    return values | {"dropped": dict(counters.dropped), "emitted": dict(counters.emitted)}


def load_counters(counters: Counters, values: dict[str, Any]) -> None:
    """Set counters to what :func:`dump_counters` returned."""
    for name in Counters.__slots__:
        if name in values:
            setattr(counters, name, values[name])


def retire(retired: Counters, values: dict[str, Any]) -> None:
    """Add the counters of a node that is gone to ``retired``; what it held is lost with it, and counted."""
    if "source" in values:
        retired.received += values["received"]
    retired.created += values["created"] + values["copied"]
    for name in ("filtered", "aggregated", "written", "dead_lettered", "errors"):
        setattr(retired, name, getattr(retired, name) + values[name])
    for reason, count in values["dropped"].items():
        retired.drop(reason, count)
    if values["held"]:
        retired.drop("reload", values["held"])


def left_out(counters: Counters) -> dict[str, int]:
    """Return what a sink itself dropped, without what the engine did meanwhile."""
    return {reason: count for reason, count in counters.dropped.items() if reason not in _BESIDE}
