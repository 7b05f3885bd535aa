"""One transform on its own, in a flow around it, for tests of node types in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowrunner.errors import FlowrunnerError
from flowrunner.graph.build import ERRORS, Graph, GraphNode, Wire
from flowrunner.message import Message
from flowrunner.options import parse_duration
from flowrunner.registry import NodeType, find_node_type
from flowrunner.testing.model import MessageStep
from flowrunner.testing.play import play_events
from flowrunner.testing.schedule import Event, Schedule
from flowrunner.testing.stand_in import StandIn, Witness, feed, stand_in


def run_node(
    type: str, options: Mapping[str, Any], inputs: Sequence[Message], *, after: str = "1h"
) -> dict[str, list[Message]]:
    """Run messages through a transform in the real engine, in virtual time; return what left it, by port.

    ``type`` is the name of an installed node type, ``options`` are as in a flow file. A message arrives at its
    ``clock``, or at its ``time`` when it has none; time then goes on for ``after``, so that timers fire. Raises
    :class:`FlowrunnerError` when there is no such transform or the engine's books do not balance, and pydantic's
    ``ValidationError`` for options that are not valid.
    """
    found = find_node_type(type)
    if found is None or found.kind != "transform":
        raise FlowrunnerError(f"there is no transform `{type}`")
    graph = _around(found, options)
    ports = (*graph.nodes["node"].ports, ERRORS)
    start = min((message.clock or message.time for message in inputs), default=0)
    events = [Event((message.clock or message.time) - start, _step(message)) for message in inputs]
    end = max((event.at for event in events), default=0) + parse_duration(after)
    witness = Witness(start)
    flow = stand_in(graph, witness, [f"node.{port}" for port in ports])
    player = play_events(start, {"": flow}, Schedule(events, [], end))
    if problems := player.problems():
        raise FlowrunnerError("; ".join(problems))
    return {port: [seen.message for seen in witness.seen(f"node.{port}", end)] for port in ports}


def _around(type: NodeType, options: Mapping[str, Any]) -> Graph:
    config = type.config.model_validate({"type": type.name, **options})
    source = feed("input", StandIn.model_construct(type="test", witness=Witness(0), place="input"))
    node = GraphNode("node", type, config, type.cls.ports(config))
    return Graph(
        name="test",
        description=None,
        file="",
        delivery="memory",
        nodes={"input": source, "node": node},
        wires=(Wire("input", "out", "node"),),
        connections={},
        digest="",
        definitions={"input": "", "node": ""},
    )


def _step(message: Message) -> MessageStep:
    return MessageStep.model_construct(
        at=0,
        node="input",
        topic=message.topic,
        payload=message.payload,
        time=message.time,
        meta=dict(message.meta),
    )
