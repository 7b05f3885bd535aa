"""Node and connection types: how they say what they are, and how installed packages are found."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any, Literal

import msgspec

from flowrunner.context import Connection
from flowrunner.errors import FlowrunnerError
from flowrunner.node import Node, NodeOptions, Sink, Source, Transform
from flowrunner.options import Options

type Kind = Literal["source", "transform", "sink"]

NODE_GROUP = "flowrunner.nodes"
CONNECTION_GROUP = "flowrunner.connections"


class NodeType(msgspec.Struct, frozen=True):
    """One node type: what validation, the reference pages and the engine need to know of it."""

    name: str
    kind: Kind
    cls: type[Node[Any]]
    config: type[NodeOptions]
    connection: str | None
    """The type of connection that its option ``connection`` must name."""
    ports: dict[str, str]
    """Port → one sentence; empty for sinks. ``errors`` is not listed: every node has it."""
    description: str
    """The module's docstring: first line the summary, the rest the reference text (Markdown)."""
    example: str
    """A complete flow file (YAML) that uses the type."""

    @property
    def summary(self) -> str:
        """The first line of the description."""
        return self.description.partition("\n")[0]

    @property
    def when_journal_full(self) -> str | None:
        """What the type does when the journal takes nothing, in a sentence; ``None`` when it is no source."""
        return _WHEN_FULL[self.cls.when_journal_full] if issubclass(self.cls, Source) else None


_WHEN_FULL = {
    "stop": (
        "Takes nothing more over (`stop`): what is not in the journal is not acknowledged, and stays with the sender."
    ),
    "drop_oldest": (
        "Its sender cannot be made to wait: the oldest of what waits for the journal is dropped (`drop_oldest`), "
        "counted as `buffer_full`."
    ),
}


class ConnectionType(msgspec.Struct, frozen=True):
    """One type of connection."""

    name: str
    cls: type[Connection[Any]]
    config: type[Options]
    description: str

    @property
    def summary(self) -> str:
        """The first line of the description."""
        return self.description.partition("\n")[0]


def node_type[N: Node[Any]](
    name: str, *, connection: str | None = None, ports: dict[str, str] | None = None
) -> Callable[[type[N]], type[N]]:
    """Make a class a node type. Its module has ``Config`` (options) and ``EXAMPLE`` (a flow, YAML)."""

    def decorate(cls: type[N]) -> type[N]:
        module = sys.modules[cls.__module__]
        kind = _kind(cls)
        config = vars(module).get("Config")
        if not (isinstance(config, type) and issubclass(config, NodeOptions)):
            raise FlowrunnerError(
                f"node type `{name}`: {cls.__module__} has no `Config` based on NodeOptions"
            )
        cls.Config = config
        default = {} if kind == "sink" else {"out": "The messages."}
        _NODES[cls] = NodeType(
            name=name,
            kind=kind,
            cls=cls,
            config=config,
            connection=connection,
            ports=default if ports is None else ports,
            description=inspect.cleandoc(module.__doc__ or ""),
            example=vars(module).get("EXAMPLE", ""),
        )
        return cls

    return decorate


def connection_type[N: Connection[Any]](name: str, config: type[Options]) -> Callable[[type[N]], type[N]]:
    """Make a class a type of connection with these options."""

    def decorate(cls: type[N]) -> type[N]:
        _CONNECTIONS[cls] = ConnectionType(name, cls, config, inspect.cleandoc(config.__doc__ or ""))
        return cls

    return decorate


_NODES: dict[type[Any], NodeType] = {}
_CONNECTIONS: dict[type[Any], ConnectionType] = {}


def _kind(cls: type[Any]) -> Kind:
    kinds: list[tuple[type[Any], Kind]] = [(Source, "source"), (Transform, "transform"), (Sink, "sink")]
    for base, kind in kinds:
        if issubclass(cls, base):
            return kind
    raise FlowrunnerError(f"{cls.__name__} must be a Source, a Transform or a Sink")


@cache
def _installed(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in _entry_points().select(group=group)}


@cache
def _entry_points() -> EntryPoints:
    """Read the entry points of all installed packages: once, it takes a good 10 ms."""
    return entry_points()


def node_type_names() -> list[str]:
    """Return the names of all installed node types, sorted. Imports none of them."""
    return sorted(_installed(NODE_GROUP))


def connection_type_names() -> list[str]:
    """Return the names of all installed connection types, sorted. Imports none of them."""
    return sorted(_installed(CONNECTION_GROUP))


def find_node_type(name: str) -> NodeType | None:
    """Import and return a node type, ``None`` when no installed package offers it."""
    return _load(NODE_GROUP, name, _NODES)


def find_connection_type(name: str) -> ConnectionType | None:
    """Import and return a connection type, ``None`` when no installed package offers it."""
    return _load(CONNECTION_GROUP, name, _CONNECTIONS)


def _load[T: (NodeType, ConnectionType)](group: str, name: str, known: dict[type[Any], T]) -> T | None:
    entry = _installed(group).get(name)
    if entry is None:
        return None
    found = known.get(entry.load())
    if found is None or found.name != name:
        raise FlowrunnerError(
            f"the entry point `{name}` ({entry.value}) is not the type that it is named after"
        )
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise FlowrunnerError(f"the type name `{name}` must be lower-case letters, digits and underscores")
    return found
