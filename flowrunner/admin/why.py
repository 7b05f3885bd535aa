"""Why did it (not) arrive? The way of single messages through a flow, in words and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flowrunner.admin.shown import Shower
from flowrunner.expression import EVALUATION_ERRORS, Expression
from flowrunner.expression.operands import operands
from flowrunner.graph.build import Graph
from flowrunner.message import Json, Message
from flowrunner.runtime.follow import Path, Station
from flowrunner.runtime.letters.facts import when
from flowrunner.runtime.supervisor import Flow

LIVE = 24
"""Messages that are followed at once."""
STILL = 12
"""Periods without news after which a path is told of though it has not ended."""
PER_PERIOD = 2
"""Messages that one source begins to follow in a period; with a condition on a source, those that meet it."""
MOST_CHANGES = 20
_MISSING = object()


class Progress:
    """What was told of a path."""

    def __init__(self) -> None:
        self._told = self._seen = self._still = 0

    def is_news(self, path: Path) -> bool:
        """Return whether the path has ended or stands still, and there is something new to tell."""
        count = len(path.stations)
        self._still = self._still + 1 if count == self._seen else 0
        self._seen = count
        if count == self._told or not (path.done or self._still >= STILL):
            return False
        self._told = count
        return True


class Watch:
    """Follows messages of the sources in front of a node, and tells of those that come by there."""

    def __init__(self, flow: Flow, node: str, condition: Expression | None) -> None:
        self._flow = flow
        self._node = node
        self._condition = condition
        self._starts = {source: Start(self, source) for source in _sources(flow.graph, node)}
        self._paths: dict[Path, Progress] = {}
        self._number = 0
        self.budget = PER_PERIOD
        """Messages that may still be begun with in this period."""

    def begin(self) -> None:
        """Follow messages from now on."""
        for source, start in self._starts.items():
            self._flow.storage.taps.at(source).add(start)

    def end(self) -> None:
        """Follow nothing any more."""
        for source, start in self._starts.items():
            self._flow.storage.taps.at(source).remove(start)
        for path in self._paths:
            self._flow.storage.taps.follower.end(path)
        self._paths.clear()

    def wants(self, source: str, message: Message) -> bool:
        """Return whether to follow a message that has left a source."""
        return source != self._node or self._meets(message)

    def follow(self, source: str, port: str, message: Message) -> None:
        """Follow a message; the oldest gives way when there are many."""
        self.budget -= 1
        self._number += 1
        wires = len(self._flow.graph.outputs(source, port))
        path = Path(self._number, source, port, message, wires)
        self._flow.storage.taps.follower.begin(path)
        self._paths[path] = Progress()
        if len(self._paths) > LIVE:
            self._drop(next(iter(self._paths)))

    def told(self) -> Iterator[dict[str, Any]]:
        """Return the paths that have ended, or stand still, once for each change."""
        self.budget = PER_PERIOD
        shower = Shower(self._flow.graph)
        for path, progress in list(self._paths.items()):
            if progress.is_news(path) and self._comes_by(path):
                yield describe(path, self._flow.graph, shower)
            if path.done:
                self._drop(path)

    def _drop(self, path: Path) -> None:
        del self._paths[path]
        self._flow.storage.taps.follower.end(path)

    def _comes_by(self, path: Path) -> bool:
        if self._node in self._starts:
            return path.stations[0].node == self._node
        return any(
            station.node == self._node and self._meets(station.before) for station in path.stations[1:]
        )

    def _meets(self, message: Message) -> bool:
        if self._condition is None:
            return True
        try:
            return self._condition.function(message) is True
        except EVALUATION_ERRORS:
            return False


class Start:
    """Listens at a source for messages to follow."""

    def __init__(self, watch: Watch, source: str) -> None:
        self._watch = watch
        self._source = source

    def hear(self, port: str, messages: Sequence[Message]) -> None:
        """Follow the newest that are wanted, as far as there is room."""
        for message in reversed(messages):
            if self._watch.budget <= 0:
                return
            if self._watch.wants(self._source, message):
                self._watch.follow(self._source, port, message)


def _sources(graph: Graph, node: str) -> list[str]:
    """Return the sources from which wires lead to a node, or the node when it is one."""
    found, pending = [node], [node]
    while pending:
        before = [wire.source for wire in graph.inputs(pending.pop()) if wire.source not in found]
        found += before
        pending += before
    return [name for name in found if graph.nodes[name].type.kind == "source"]


def describe(path: Path, graph: Graph, shower: Shower) -> dict[str, Any]:
    """Return a path as JSON: its stations, and whether all of it has come to its end."""
    return {
        "kind": "path",
        "path": path.number,
        "done": path.done,
        "stations": [_station(station, graph, shower) for station in path.stations],
    }


def _station(station: Station, graph: Graph, shower: Shower) -> dict[str, Any]:
    node = graph.nodes.get(station.node)
    return {
        "node": station.node,
        "type": node.type.name if node is not None else None,
        "outcome": station.outcome,
        "topic": shower.text(station.before.topic),
        "seq": station.before.seq,
        "reason": None if station.reason is None else shower.text(station.reason),
        "until": None if station.until is None else when(station.until),
        "after": [_after(station, port, message, shower) for port, message in station.after[:MOST_CHANGES]],
        "payload": shower.value(station.before.payload),
        "expressions": list(_expressions(station, graph, shower)),
    }


def _after(station: Station, port: str, message: Message, shower: Shower) -> dict[str, Any]:
    return {
        "port": port,
        "wired": port not in station.unwired,
        "topic": shower.text(message.topic),
        "changes": [] if message is station.before else changes(station.before, message, shower),
    }


def changes(before: Message, after: Message, shower: Shower) -> list[dict[str, Json]]:
    """Return what differs between two messages, field by field; ``null`` where there is none."""
    old, new = dict(_fields(before)), dict(_fields(after))
    names = [name for name in {**old, **new} if old.get(name, _MISSING) != new.get(name, _MISSING)]
    return [
        {"field": name, "before": _shown(old, name, shower), "after": _shown(new, name, shower)}
        for name in names[:MOST_CHANGES]
    ]


def _shown(fields: Mapping[str, Any], name: str, shower: Shower) -> Json:
    # By way of its name, so that one that is named like a secret is hidden.
    shown = shower.value({name: fields.get(name)})
    return shown[name] if isinstance(shown, dict) and name in shown else None


def _fields(message: Message) -> Iterator[tuple[str, Any]]:
    yield "topic", message.topic
    yield "time", when(message.time)
    yield from ((f"meta.{name}", value) for name, value in message.meta.items())
    if isinstance(message.payload, Mapping):
        yield from ((f"payload.{name}", value) for name, value in message.payload.items())
    else:
        yield "payload", message.payload


def _expressions(station: Station, graph: Graph, shower: Shower) -> Iterator[dict[str, Json]]:
    """Return the conditions and keys of a node with the values that they had for the message."""
    node = graph.nodes.get(station.node)
    if node is None or station.outcome in ("came", "released", "aggregated", "replaced"):
        return
    for name in node.config.model_fields_set:
        value = getattr(node.config, name)
        named = value.items() if isinstance(value, Mapping) else [("", value)]
        for inner, expression in named:
            if isinstance(expression, Expression) and not expression.is_constant:
                yield _evaluated(f"{name}.{inner}" if inner else name, expression, station.before, shower)


def _evaluated(option: str, expression: Expression, message: Message, shower: Shower) -> dict[str, Json]:
    told: dict[str, Json] = {"option": option, "expression": shower.text(expression.source)}
    try:
        told["value"] = shower.value(expression.function(message))
    except EVALUATION_ERRORS as error:
        told["error"] = shower.text(expression.reason(error))
    told["operands"] = shower.value(operands(expression.source, message))
    return told
