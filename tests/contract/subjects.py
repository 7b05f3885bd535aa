"""The installed node types, each as its own example flow configures it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import msgspec
from pydantic import BaseModel

from flowrunner import ConnectionContext, Context, Message
from flowrunner.graph.build import Graph, GraphNode
from flowrunner.graph.load import Loaded, load_flows
from flowrunner.node import Node
from flowrunner.registry import NodeType, find_node_type, node_type_names
from tests.nodes.harness import START, JournalInMemory, RecordingLog, SetClock

NAMES = node_type_names()
MINUTE = 60 * 1_000_000_000
SETTINGS = {
    "PASSWORD": "x",
    "MQTT_PASSWORD": "x",
    "INFLUX_TOKEN": "x",
    "HA_TOKEN": "x",
    "DOORBELL_TOKEN": "x",
}


@cache
def node_type(name: str) -> NodeType:
    found = find_node_type(name)
    assert found is not None
    return found


@cache
def loaded(name: str) -> Loaded:
    """Load the example of a type as a user's file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "example.yaml"
        path.write_text(node_type(name).example)
        return load_flows([path], environment=SETTINGS)


def graph_of(name: str) -> Graph:
    return next(iter(loaded(name).graphs.values()))


def subject(name: str) -> GraphNode:
    """Return the node of this type in its example."""
    return next(node for node in graph_of(name).nodes.values() if node.type.name == name)


def of_kind(kind: str) -> list[str]:
    return [name for name in NAMES if node_type(name).kind == kind]


def needs_server(name: str) -> bool:
    return node_type(name).connection is not None or name == "http_out"


def context_of(name: str) -> Context:
    """Return a context with all ports wired, and the connection that the example names."""
    node = subject(name)
    connection = graph_of(name).connections.get(getattr(node.config, "connection", ""))
    if node.type.kind == "source":
        context: Context = JournalInMemory(node=node.id)
    else:
        wired = frozenset(node.ports)
        context = Context("flow", node.id, log=RecordingLog(), clock=SetClock(), wired=wired)
    if connection is not None:
        settings = ConnectionContext("flow", connection.name, context.clock, context.log)
        context.connection = connection.type.cls(connection.config, settings)
    return context


def create(name: str) -> Node[Any]:
    return node_type(name).cls(subject(name).config, context_of(name))


def models_of(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield a model and all the models that its fields hold."""
    yield model
    for field in model.model_fields.values():
        for inner in _classes(field.annotation):
            if issubclass(inner, BaseModel) and inner is not model:
                yield from models_of(inner)


def _classes(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from _classes(argument)


def corpus() -> list[Message]:
    """Return readings of two hours, of two sensors, with odd ones among them and a very late one at the end."""
    payloads: list[Any] = [
        {"temperature": 10.0 + step % 25, "room": "hall", "linkquality": 1} for step in range(120)
    ]
    payloads[7], payloads[23], payloads[50] = {}, "offline", {"temperature": 999.0, "room": "hall"}
    readings = [
        Message(f"sensor/{step % 2}", payload, START + step * MINUTE, {}, START + step * MINUTE, step + 1)
        for step, payload in enumerate(payloads)
    ]
    late = msgspec.structs.replace(readings[0], clock=readings[-1].clock + 1, seq=121)
    return [*readings, late]
