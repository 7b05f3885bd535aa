"""Flows for the benchmarks, with a source that is fed and a sink that throws away."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowrunner import Message, NodeOptions, Sink, Source, node_type
from flowrunner.graph.build import Graph
from flowrunner.graph.load import load_flows
from flowrunner.registry import NODE_GROUP, _installed

START = 1_772_359_200_000_000_000
"""2026-03-01T10:00:00Z."""

CHAIN = """
version: 1
flow: chain
nodes:
  feed: { type: bench_feed }
  valid: { type: filter, from: feed, where: payload.temperature > -40.0 && payload.temperature < 80.0 }
  small: { type: map, from: valid, set: { payload: "={'t': payload.temperature, 'h': payload.humidity}" } }
  ours: { type: filter, from: small, where: "topic.startsWith('home/')" }
  calm: { type: throttle, from: ours, key: topic, every: 50ms }
  fahrenheit: { type: map, from: calm, set: { payload: "={'x': payload.t * 1.8 + 32.0}" } }
  mean:
    type: aggregate
    from: fahrenheit
    key: topic
    window: { type: tumbling, size: 10s }
    fields: { n: count(), mean: mean(payload.x), max: max(payload.x) }
  away: { type: bench_away, from: mean }
"""

Config = NodeOptions
EXAMPLE = ""


@node_type("bench_feed")
class Feed(Source[NodeOptions]):
    """A source that is fed through its context."""

    drives_clock = True

    async def run(self) -> None:
        """Wait."""
        await asyncio.Event().wait()


@node_type("bench_live")
class Live(Source[NodeOptions]):
    """A source that is fed through its context, with what comes in now."""

    async def run(self) -> None:
        """Wait."""
        await asyncio.Event().wait()


@node_type("bench_away")
class Away(Sink[NodeOptions]):
    """A sink that throws away."""

    async def write(self, batch: Sequence[Message]) -> None:
        """Accept everything."""


class Quiet:
    """A logger that says nothing."""

    def debug(self, event: str, **facts: Any) -> None:
        """Say nothing."""

    info = warning = error = debug


class _Entry:
    def __init__(self, name: str, cls: type[Any]) -> None:
        self.name, self.value, self._cls = name, cls.__name__, cls

    def load(self) -> type[Any]:
        return self._cls


_TYPES = (("bench_feed", Feed), ("bench_live", Live), ("bench_away", Away))


def load_graph(text: str) -> Graph:
    """Return the graph of one flow file that may use the types of this module."""
    installed: dict[str, Any] = _installed(NODE_GROUP)
    installed.update({name: _Entry(name, cls) for name, cls in _TYPES})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "flow.yaml"
        file.write_text(text)
        loaded = load_flows([file])
    if loaded.diagnostics:
        raise SystemExit("\n".join(f"{d.line}:{d.column}: {d.message}" for d in loaded.diagnostics))
    return next(iter(loaded.graphs.values()))
