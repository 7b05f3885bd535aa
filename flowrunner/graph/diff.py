"""What goes from one version of a flow to the next: which nodes go on, which begin anew, and what becomes of their state.

A pure function of two graphs. The runtime carries out exactly this plan (see docs/reload.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from pydantic import BaseModel

from flowrunner.graph.build import Graph, GraphConnection, GraphNode
from flowrunner.node import ENGINE_OPTIONS, Transform

type Outcome = Literal["keep", "restart", "state_kept", "state_lost", "added", "removed"]
"""*keep*: the same object goes on. *restart*: a new one, which had no state to lose. *state_kept*: a new one takes up
the state of the old. *state_lost*: a new one begins empty, and what the old one held is dropped and counted."""

OUTCOMES: tuple[Outcome, ...] = ("keep", "restart", "state_kept", "state_lost", "added", "removed")


class Change(msgspec.Struct, frozen=True):
    """What a reload does with one node or one connection."""

    name: str
    type: str
    """The type it has in the new version; of what is removed, the one it had."""
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    """Why, in words for people; empty for *keep* and *added*."""


class Plan(msgspec.Struct, frozen=True):
    """What a reload does with one flow."""

    flow: str
    nodes: tuple[Change, ...]
    """In the order of the new graph, then those that are removed."""
    connections: tuple[Change, ...]
    """Never with a state: *keep*, *restart*, *added* or *removed*."""

    def kept(self) -> frozenset[str]:
        """Return the ids of the nodes whose objects go on."""
        return frozenset(change.name for change in self.nodes if change.outcome == "keep")

    def outcome(self, node: str) -> Outcome:
        """Return what becomes of a node; raises ``KeyError`` when neither version has it."""
        for change in self.nodes:
            if change.name == node:
                return change.outcome
        raise KeyError(node)

    @property
    def changes(self) -> bool:
        """Whether anything is not kept."""
        return any(change.outcome != "keep" for change in self.nodes + self.connections)


def diff(old: Graph, new: Graph) -> Plan:
    """Return what going over from ``old`` to ``new``, two versions of one flow, does with each part."""
    moved = "`delivery` changed" if old.delivery != new.delivery else None
    connections = tuple(_connections(old, new, moved))
    anew = {change.name: change for change in connections if change.outcome in ("restart", "added")}
    nodes = [_node(old, new, id, anew, moved) for id in new.nodes]
    gone = [
        Change(id, node.type.name, "removed", _gone(node))
        for id, node in old.nodes.items()
        if id not in new.nodes
    ]
    return Plan(new.name, (*nodes, *gone), connections)


def _connections(old: Graph, new: Graph, moved: str | None) -> Iterable[Change]:
    for name, connection in new.connections.items():
        before = old.connections.get(name)
        if before is None:
            yield Change(name, connection.type.name, "added")
        elif reasons := _connection_reasons(before, connection, moved):
            yield Change(name, connection.type.name, "restart", reasons)
        else:
            yield Change(name, connection.type.name, "keep")
    for name, connection in old.connections.items():
        if name not in new.connections:
            yield Change(name, connection.type.name, "removed", ("no node uses it any more",))


def _connection_reasons(old: GraphConnection, new: GraphConnection, moved: str | None) -> tuple[str, ...]:
    if moved is not None:
        return (moved,)
    if old.type.name != new.type.name:
        return (_type_changed(old.type.name, new.type.name),)
    if (old.definition, old.config) == (new.definition, new.config):
        return ()
    return _options_changed(old.config, new.config)


def _node(old: Graph, new: Graph, id: str, anew: dict[str, Change], moved: str | None) -> Change:
    before, after = old.nodes.get(id), new.nodes[id]
    if before is None:
        return Change(id, after.type.name, "added")
    reasons = _node_reasons(old, new, id, anew, moved)
    if not reasons:
        return Change(id, after.type.name, "keep")
    outcome, why = _state(before, after, moved)
    return Change(id, after.type.name, outcome, reasons + why)


def _node_reasons(
    old: Graph, new: Graph, id: str, anew: dict[str, Change], moved: str | None
) -> tuple[str, ...]:
    """Return why a node cannot just go on."""
    before, after = old.nodes[id], new.nodes[id]
    if moved is not None:
        return (moved,)
    if before.type.name != after.type.name:
        return (_type_changed(before.type.name, after.type.name),)
    reasons: list[str] = []
    connection = getattr(after.config, "connection", None)
    if connection in anew and anew[connection].outcome == "restart":
        reasons.append(f"the connection `{connection}` begins anew")
    if _inputs(old, id) != _inputs(new, id):
        reasons.append("`from` changed")
    if reasons and _options(before) == _options(after):
        return tuple(reasons)
    if old.definitions[id] != new.definitions[id] or _options(before) != _options(after):
        reasons += _options_changed(before.config, after.config)
    return tuple(reasons)


def _inputs(graph: Graph, id: str) -> list[tuple[str, str]]:
    return [(wire.source, wire.port) for wire in graph.inputs(id)]


def _options(node: GraphNode) -> dict[str, Any]:
    """Return a node's options without those that the engine reads anew at each reload."""
    return {name: value for name, value in node.config if name not in ENGINE_OPTIONS}


def _options_changed(old: BaseModel, new: BaseModel) -> tuple[str, ...]:
    before, after = dict(old), dict(new)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    changed = tuple(f"`{name}` changed" for name in names if name not in ENGINE_OPTIONS)
    return changed or ("a file that it names, or the way it is written, changed",)


def _type_changed(old: str, new: str) -> str:
    return f"the type changed from `{old}` to `{new}`"


def _state(before: GraphNode, after: GraphNode, moved: str | None) -> tuple[Outcome, tuple[str, ...]]:
    """Return what becomes of the state of a node that begins anew."""
    if not _has_state(before):
        return "restart", ()
    if moved is not None or before.type.name != after.type.name:
        return "state_lost", ()
    if state_shape(before) == state_shape(after):
        return "state_kept", ()
    return "state_lost", ("its state does not fit the new options",)


def _has_state(node: GraphNode) -> bool:
    """Return whether a node keeps anything between two messages that is not in the journal or a channel."""
    cls = node.type.cls
    return issubclass(cls, Transform) and (
        cls.snapshot is not Transform.snapshot or cls.on_timer is not Transform.on_timer
    )


def state_shape(node: GraphNode) -> str:
    """Return a hash of what a node's state depends on; empty when it has none. Equal ones fit together."""
    cls = node.type.cls
    if not (_has_state(node) and issubclass(cls, Transform)):
        return ""
    return hashlib.sha256(repr((node.type.name, cls.state_options(node.config))).encode()).hexdigest()[:16]


def _gone(node: GraphNode) -> tuple[str, ...]:
    if _has_state(node):
        return ("what it holds is dropped and counted",)
    return (
        ("what has come to it is written for at most 10 s, then dead-lettered",)
        if node.type.kind == "sink"
        else ()
    )
