"""The graph of one flow, as everything after the files sees it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import msgspec

from flowrunner.config.load import ConnectionEntry, FlowFile, NodeEntry
from flowrunner.graph.order import in_order
from flowrunner.message import Json
from flowrunner.node import ENGINE_OPTIONS, Node, NodeOptions
from flowrunner.options import Options
from flowrunner.registry import ConnectionType, NodeType

ERRORS = "errors"
"""The port that every node has beside its own."""


class Wire(msgspec.Struct, frozen=True):
    """A wire from a port of one node to another node."""

    source: str
    port: str
    target: str


class GraphNode(msgspec.Struct, frozen=True):
    """A node with its checked options; ``ports`` are its outputs beside ``errors``."""

    id: str
    type: NodeType
    config: NodeOptions
    ports: tuple[str, ...]


class GraphConnection(msgspec.Struct, frozen=True):
    """A connection with its checked options."""

    name: str
    type: ConnectionType
    config: Options
    definition: str = ""
    """Digest of its type and options, values of variables and contents of the files it names included."""


class Graph(msgspec.Struct, frozen=True):
    """One flow without mistakes."""

    name: str
    description: str | None
    file: str
    delivery: Literal["journal", "memory"]
    nodes: dict[str, GraphNode]
    """In topological order, ties in the order of the file; disabled nodes are left out, with their wires."""
    wires: tuple[Wire, ...]
    """Grouped by target in the order of ``nodes``; for one target in the order of its ``from:``."""
    connections: dict[str, GraphConnection]
    """Those that the flow uses."""
    digest: str
    """Changes when the flow means something else: not with comments, layout or the order of keys."""
    definitions: dict[str, str]
    """Digest of each node: its type, options, inputs and connection, values of variables included.

    Without the options that the engine reads anew at each reload: they restart nothing.
    """

    def inputs(self, node_id: str) -> tuple[Wire, ...]:
        """Return the wires that end at a node."""
        return tuple(wire for wire in self.wires if wire.target == node_id)

    def outputs(self, node_id: str, port: str) -> tuple[Wire, ...]:
        """Return the wires that begin at a port."""
        return tuple(wire for wire in self.wires if wire.source == node_id and wire.port == port)


def ports_of(type: NodeType, options: NodeOptions | None) -> tuple[str, ...] | None:
    """Return a node's ports beside ``errors``; ``None`` when they depend on options that have mistakes."""
    if type.kind == "sink":
        return ()
    if options is not None:
        return type.cls.ports(options)
    fixed = getattr(type.cls.ports, "__func__", None) is getattr(Node.ports, "__func__", None)
    return ("out",) if fixed else None


def connection_name(entry: NodeEntry) -> str | None:
    """Return the name of the connection that a node uses, as far as it is known."""
    if entry.type is None or entry.type.connection is None:
        return None
    if entry.options is not None:
        name = getattr(entry.options, "connection", None)
    else:
        name = entry.definition.get("connection") if isinstance(entry.definition, dict) else None
    return name if isinstance(name, str) else None


def build(
    file: FlowFile, wires: Mapping[str, Sequence[Wire]], connections: Mapping[str, ConnectionEntry]
) -> Graph | None:
    """Return the graph of a file without errors.

    ``wires`` are those of each node, ``connections`` all that were loaded. ``None`` when options hang on variables
    that are not set, a connection in another file has a mistake, or every node is disabled.
    """
    nodes: dict[str, GraphNode] = {}
    used: dict[str, GraphConnection] = {}
    definitions: dict[str, str] = {}
    written: dict[str, Json] = {}
    for id in in_order({id: [wire.source for wire in wires[id]] for id in file.nodes}):
        entry = file.nodes[id]
        if entry.type is None or entry.options is None:
            return None
        if not entry.options.enabled:
            continue
        name = connection_name(entry)
        connection = connections.get(name) if name is not None else None
        if connection is not None:
            if connection.type is None or connection.options is None:
                return None
            used[connection.name] = GraphConnection(
                connection.name, connection.type, connection.options, _digest(connection.definition)
            )
        nodes[id] = GraphNode(id, entry.type, entry.options, ports_of(entry.type, entry.options) or ())
        sources = [[wire.source, wire.port] for wire in wires[id]]
        shared = connection.definition if connection is not None else None
        written[id] = entry.definition
        options = _without(entry.definition, ENGINE_OPTIONS)
        definitions[id] = _digest({"options": options, "from": sources, "connection": shared})
    if not nodes:
        return None
    flow: dict[str, Any] = {"flow": file.flow, "description": file.description, "delivery": file.delivery}
    return Graph(
        name=file.flow or "",
        description=file.description,
        file=file.path,
        delivery=file.delivery,
        nodes=nodes,
        wires=tuple(wire for id in nodes for wire in wires[id] if wire.source in nodes),
        connections=used,
        digest=_digest({**flow, "nodes": definitions, "written": written}),
        definitions=definitions,
    )


def _without(definition: Json, names: Collection[str]) -> Json:
    if not isinstance(definition, dict):
        return definition
    return {name: value for name, value in definition.items() if name not in names}


def _digest(definition: Json) -> str:
    text = json.dumps(definition, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
