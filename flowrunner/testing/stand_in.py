"""Stand-ins for the ends of a flow: sources that a test feeds, sinks that keep what the real ones would write.

Nothing of the real ones runs: a real sink is constructed, which does no I/O, and asked what it would write.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from pydantic import ConfigDict

from flowrunner.context import Connection, ConnectionContext, Context
from flowrunner.errors import MessageError, RetryLater
from flowrunner.graph.build import ERRORS, Graph, GraphConnection, GraphNode, Wire
from flowrunner.message import NANOSECONDS, Message
from flowrunner.node import NodeOptions, Sink, Source
from flowrunner.registry import Kind, NodeType
from flowrunner.testing.schedule import Refusal

FOR_GOOD = frozenset({400, 422})
"""The answers after which a sink gives a point up instead of trying again."""


class Seen(msgspec.Struct, frozen=True):
    """A message at a place that a test looks at; ``line`` is what a sink wrote."""

    message: Message
    line: str | None = None


class Witness:
    """Remembers what came to which place over all lives of a flow in one test.

    A message that is written again after a crash counts once, as a point with the same tags and time does.
    """

    def __init__(self, start: int, refusals: Sequence[Refusal] = ()) -> None:
        self.start = start
        self._refusals = refusals
        self._seen: dict[str, dict[tuple[int, int, int], Seen]] = {}

    def remember(self, place: str, ordinal: int, seen: Seen) -> None:
        """Keep what was seen; ``ordinal`` counts the messages of one origin at this place."""
        message = seen.message
        self._seen.setdefault(place, {})[message.clock, message.seq, ordinal] = seen

    def seen(self, place: str, end: int) -> list[Seen]:
        """Return what came to a place up to ``end`` (nanoseconds from the start), in order."""
        found = self._seen.get(place, {}).values()
        return [seen for seen in found if seen.message.clock <= self.start + end]

    def refusal(self, sink: str, now: int) -> Refusal | None:
        """Return what the server of a sink does now, ``None`` when it accepts."""
        at = now - self.start
        return next(
            (each for each in self._refusals if each.sink == sink and each.begin <= at < each.end), None
        )


class StandIn(NodeOptions):
    """The options of a stand-in: those of the real node that the engine reads, and the test's own."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    witness: Witness
    place: str
    real: GraphNode | None = None
    server: GraphConnection | None = None


class StandInSource(Source[StandIn]):
    """A source that a test feeds: the data of its records is the payload as JSON."""

    async def run(self) -> None:
        """Wait: the records come from outside."""
        await asyncio.Event().wait()


class StandInSink(Sink[StandIn]):
    """A sink that remembers; with a real one, what that would have written."""

    def __init__(self, config: StandIn, context: Context) -> None:
        super().__init__(config, context)
        self._real = None if config.real is None else _real_sink(config.real, config.server, context)
        self._ordinals: Counter[tuple[int, int]] = Counter()

    async def write(self, batch: Sequence[Message]) -> None:
        """Remember the messages that the real sink could write, or refuse all of them."""
        refusal = self.config.witness.refusal(self.context.node, self.context.clock.now())
        if refusal is None:
            for message in batch:
                self._take(message)
            return
        reason = f"the server answered {refusal.status}, as the test says"
        if refusal.status in FOR_GOOD:
            for message in batch:
                self.context.fail(message, reason)
            return
        elapsed = self.context.clock.now() - self.config.witness.start
        await asyncio.sleep((refusal.end - elapsed) / NANOSECONDS)  # retries in between would not be seen
        raise RetryLater(reason)

    def _take(self, message: Message) -> None:
        origin = message.clock, message.seq
        try:
            line = None if self._real is None else self._real.show(message)
        except MessageError as error:
            self.context.fail(message, str(error))
            return
        ordinal = self._ordinals[origin] = self._ordinals[origin] + 1
        self.config.witness.remember(self.config.place, ordinal, Seen(message, line))


def _real_sink(node: GraphNode, server: GraphConnection | None, context: Context) -> Sink[Any]:
    """Construct a sink, and its connection, with contexts that lead nowhere."""
    connection: Connection[Any] | None = None
    if server is not None:
        away = ConnectionContext(context.flow, server.name, context.clock, context.log)
        connection = server.type.cls(server.config, away)
    own = Context(context.flow, node.id, log=context.log, clock=context.clock, connection=connection)
    sink = node.type.cls(node.config, own)
    if not isinstance(sink, Sink):
        raise TypeError(f"{node.type.name} is not a sink")
    return sink


def stand_in(graph: Graph, witness: Witness, places: Iterable[str]) -> Graph:
    """Return the flow with stand-ins at its ends, and with eyes at ``places``: node ids, or ports as ``id.port``.

    A port that is looked at counts as wired: what fails at a node whose ``errors`` are expected is no dead letter.
    """
    nodes = {id: _replaced(node, graph, witness) for id, node in graph.nodes.items()}
    wires = list(graph.wires)
    for place in places:
        watched = _watched(graph, place)
        if watched:
            eye = f"eye on {place}"
            options = StandIn.model_construct(type="test", witness=witness, place=place)
            nodes[eye] = _node(eye, "sink", (), options)
            wires += [Wire(wire.source, wire.port, eye) for wire in watched]
    definitions = {id: graph.definitions.get(id, "") for id in nodes}
    return msgspec.structs.replace(
        graph, nodes=nodes, wires=tuple(wires), connections={}, definitions=definitions
    )


def feed(id: str, options: StandIn) -> GraphNode:
    """Return a source that a test feeds."""
    return _node(id, "source", ("out",), options)


def _watched(graph: Graph, place: str) -> list[Wire]:
    """Return the wires to tap for a place: none for sinks, which remember by themselves."""
    id, _, port = place.partition(".")
    node = graph.nodes.get(id)
    if node is None or (not port and node.type.kind == "sink"):
        return []
    if port:
        return [Wire(id, port, place)] if port in (*node.ports, ERRORS) else []
    return [Wire(id, "out", place)] if node.type.kind == "source" else list(graph.inputs(id))


def _replaced(node: GraphNode, graph: Graph, witness: Witness) -> GraphNode:
    if node.type.kind == "transform":
        return node
    config = node.config
    common = {name: getattr(config, name) for name in NodeOptions.model_fields}
    real = node if node.type.kind == "sink" else None
    server = graph.connections.get(getattr(config, "connection", ""))
    options = StandIn.model_construct(**common, witness=witness, place=node.id, real=real, server=server)
    return _node(node.id, node.type.kind, node.ports, options)


def _node(id: str, kind: Kind, ports: tuple[str, ...], options: StandIn) -> GraphNode:
    cls = StandInSource if kind == "source" else StandInSink
    type = NodeType(
        name="test", kind=kind, cls=cls, config=StandIn, connection=None, ports={}, description="", example=""
    )
    return GraphNode(id, type, options, ports)
