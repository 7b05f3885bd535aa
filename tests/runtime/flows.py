"""Flows for tests of the engine: graphs without YAML, a source that a test feeds, a sink that a test looks into."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from flowrunner import (
    NANOSECONDS,
    Message,
    NodeOptions,
    Record,
    Sink,
    Source,
    node_type,
)
from flowrunner.graph.build import Graph, GraphNode, Wire
from flowrunner.node import ENGINE_OPTIONS
from flowrunner.registry import _NODES, NODE_GROUP, _installed
from flowrunner.runtime.flow import FlowRunner
from flowrunner.runtime.storage import FlowSettings, Storage
from flowrunner.testing import VirtualClock
from tests.nodes.harness import RecordingLog

START = 1_772_359_200 * NANOSECONDS
"""2026-03-01T10:00:00Z."""

Config = NodeOptions


@node_type("feed")
class Feed(Source[NodeOptions]):
    """A source that a test feeds through its context."""

    async def run(self) -> None:
        await asyncio.Event().wait()


@node_type("replay")
class Replay(Source[NodeOptions]):
    """A source whose records carry the flow clock; it ends when the test says so."""

    drives_clock = True

    def __init__(self, config: NodeOptions, context: Any) -> None:
        super().__init__(config, context)
        self.end = asyncio.Event()

    async def run(self) -> None:
        await self.end.wait()


@node_type("keep")
class Keep(Sink[NodeOptions]):
    """A sink that keeps what it is given; ``refuse`` are the errors that its next writes raise."""

    def __init__(self, config: NodeOptions, context: Any) -> None:
        super().__init__(config, context)
        self.kept: list[Message] = []
        self.refuse: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, batch: Sequence[Message]) -> None:
        await self.gate.wait()
        if self.refuse:
            raise self.refuse.pop(0)
        self.kept += batch


class _Entry:
    def __init__(self, name: str, cls: type[Any]) -> None:
        self.name, self.value, self._cls = name, cls.__name__, cls

    def load(self) -> type[Any]:
        return self._cls


@contextmanager
def registered(**types: type[Any]) -> Iterator[None]:
    """Let flow files use node types of the tests, as if a package had brought them."""
    installed: dict[str, Any] = _installed(NODE_GROUP)
    installed.update({name: _Entry(name, cls) for name, cls in types.items()})
    try:
        yield
    finally:
        for name in types:
            del installed[name]


def type_of(cls: type[Any]) -> Any:
    return _NODES[cls]


def _read_by_node(node: GraphNode) -> list[Any]:
    return [(name, value) for name, value in node.config if name not in ENGINE_OPTIONS]


class FlowBuilder:
    """Builds a graph in a few words: ``source("a")``, ``node("b", Cls, "a")``, ``sink("c", "b")``."""

    def __init__(self, name: str = "flow", delivery: Literal["journal", "memory"] = "memory") -> None:
        self._name = name
        self._delivery: Literal["journal", "memory"] = delivery
        self._nodes: dict[str, GraphNode] = {}
        self._wires: list[Wire] = []

    def node(self, id: str, cls: type[Any], *inputs: str, **options: Any) -> FlowBuilder:
        found = type_of(cls)
        config = found.config.model_validate({"type": found.name, **options})
        self._nodes[id] = GraphNode(id, found, config, cls.ports(config))
        for text in inputs:
            source, _, port = text.partition(".")
            self._wires.append(Wire(source, port or "out", id))
        return self

    def source(self, id: str) -> FlowBuilder:
        return self.node(id, Feed)

    def sink(self, id: str, *inputs: str, **options: Any) -> FlowBuilder:
        return self.node(id, Keep, *inputs, **options)

    def graph(self) -> Graph:
        definitions = {
            id: repr((_read_by_node(node), [wire for wire in self._wires if wire.target == id]))
            for id, node in self._nodes.items()
        }
        return Graph(
            name=self._name,
            description=None,
            file="flow.yaml",
            delivery=self._delivery,
            nodes=self._nodes,
            wires=tuple(wire for id in self._nodes for wire in self._wires if wire.target == id),
            connections={},
            digest=repr([(node.config, definitions[id]) for id, node in self._nodes.items()]),
            definitions=definitions,
        )


def record(payload: Any, topic: str = "t", at: float | None = None) -> Record:
    """Return a JSON record; ``at`` is the event time in seconds after the start."""
    time = None if at is None else START + round(at * NANOSECONDS)
    return Record(msgspec.json.encode(payload), topic, time)


class Running:
    """A flow that runs."""

    def __init__(self, runner: FlowRunner) -> None:
        self.runner = runner

    def feed(self, source: str, *records: Record) -> asyncio.Future[None]:
        return self.runner.assembly.sources[source].context.post(records)

    def sink(self, name: str) -> Keep:
        node = self.runner.assembly.sinks[name].node
        assert isinstance(node, Keep)
        return node

    def payloads(self, name: str) -> list[Any]:
        return [message.payload for message in self.sink(name).kept]


@asynccontextmanager
async def running(
    graph: Graph,
    *,
    storage: Storage | None = None,
    state_dir: Path | None = None,
    checkpoint_every: float = 10.0,
    clock: Any = None,
) -> AsyncIterator[Running]:
    """Run a flow; at the end it is drained and its books must balance."""
    settings = FlowSettings(state_dir=state_dir or Path("unused"), checkpoint_every=checkpoint_every)
    clock = clock or VirtualClock(START)
    own = storage is None
    storage = storage or Storage(graph.name, graph.delivery, settings, clock)
    if own:
        await storage.open()
    runner = FlowRunner(graph, storage, settings, clock, RecordingLog())
    task = asyncio.create_task(runner.run())
    ready = asyncio.create_task(runner.ready.wait())
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        ready.cancel()
        task.result()
    try:
        yield Running(runner)
        runner.stop(5.0)
        await task
        assert runner.ledger.balance == 0
        for context in runner.assembly.contexts.values():
            if context.node not in runner.assembly.sources:
                assert context.counters.balance() == 0, context.node
    finally:
        task.cancel()
        if own:
            await storage.close()
