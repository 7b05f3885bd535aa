"""What can be wrong between the nodes of a flow: wires, ports, connections, circles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from flowrunner.config.load import ConnectionEntry, FlowFile, NodeEntry
from flowrunner.config.places import Places
from flowrunner.config.tree import Path, Scalar
from flowrunner.config.words import did_you_mean, listing
from flowrunner.graph.build import ERRORS, Wire, connection_name, ports_of
from flowrunner.graph.order import cycles

type Wires = dict[str, list[Wire]]


def check(file: FlowFile, connections: Mapping[str, ConnectionEntry]) -> Wires:
    """Report what is wrong with a file's graph and return the wires of each node, those that exist."""
    if file.places is None:
        return {}
    checker = _Checker(file, file.places)
    wires = {id: checker.wires(entry) for id, entry in file.nodes.items()}
    checker.circles(wires)
    checker.unused()
    for entry in file.nodes.values():
        checker.connection(entry, connections)
        checker.outbox(entry, file.delivery)
    return wires


class _Reference(msgspec.Struct):
    """One text of a ``from:``."""

    text: str
    path: Path


class _Checker:
    """The checks of one file; each reports what it finds."""

    def __init__(self, file: FlowFile, places: Places) -> None:
        self._nodes = file.nodes
        self._report = file.report
        self._places = places
        self._used: set[str] = set()
        """The nodes with a wire at a port other than ``errors``, or at one that there is not."""
        self._wired = True
        """Whether every ``from`` says where it leads; else an unused output is no mistake of its own."""

    def wires(self, entry: NodeEntry) -> list[Wire]:
        """Check and return the wires that end at a node."""
        at = (*entry.path, "from")
        if entry.type is None:
            return self._resolve(entry, at)
        if entry.type.kind == "source":
            self._source(entry, at)
            return []
        if not entry.sources:
            self._unwired(entry, at)
            return []
        return self._resolve(entry, at)

    def _source(self, entry: NodeEntry, at: Path) -> None:
        help = "remove it; a source brings its messages from outside"
        if entry.sources is not None:
            self._report.add(
                "FR016", self._places.key(at), f"the source `{entry.id}` cannot have `from`", help=help
            )
        if entry.options is not None and entry.options.buffer is not None:
            span = self._places.key((*entry.path, "buffer"))
            message = f"the source `{entry.id}` cannot have `buffer`: nothing flows into it"
            self._report.add("FR016", span, message, help="set it on the nodes that read from the source")

    def outbox(self, entry: NodeEntry, delivery: str) -> None:
        """Check that a node with an outbox is one that can have it."""
        if entry.options is None or entry.options.outbox is None or entry.type is None:
            return
        span = self._places.key((*entry.path, "outbox"))
        if entry.type.kind != "sink":
            message = f"the {entry.type.kind} `{entry.id}` cannot have `outbox`: it writes to nothing outside"
            self._report.add("FR025", span, message, help="set it on the sinks that the flow ends in")
        elif delivery == "memory":
            message = "`outbox` is kept on disk, and a flow with `delivery: memory` keeps nothing there"
            self._report.add("FR025", span, message, help="remove one of the two")

    def _unwired(self, entry: NodeEntry, at: Path) -> None:
        self._wired = False
        place = at if self._places.find(at) is not None else entry.path
        others = [id for id in self._nodes if id != entry.id]
        help = (
            f"add `from:` with the id of a node, such as `{others[0]}`"
            if others
            else "add `from:` and a source"
        )
        self._report.add("FR017", self._places.key(place), f"`{entry.id}` reads from no node", help=help)

    def _resolve(self, entry: NodeEntry, at: Path) -> list[Wire]:
        wires: list[Wire] = []
        for reference in self._references(entry, at):
            wire = self._wire(reference, entry.id)
            if wire is not None and wire in wires:
                message = f"`{reference.text}` stands in this `from` twice"
                self._report.add(
                    "FR025", self._places.value(reference.path), message, help="remove one of them"
                )
            elif wire is not None:
                wires.append(wire)
        return wires

    def _references(self, entry: NodeEntry, at: Path) -> list[_Reference]:
        values: list[Any] = entry.sources if isinstance(entry.sources, list) else [entry.sources]
        paths = [(*at, index) for index in range(len(values))] if isinstance(entry.sources, list) else [at]
        found = []
        for value, path in zip(values, paths, strict=True):
            if isinstance(value, str):
                found.append(_Reference(value, path))
            elif value is not None:
                self._wired = False
                help = "write `from: node`, `from: node.port`, or a list of these"
                self._report.add("FR022", self._places.value(path), "`from` must name nodes", help=help)
        return found

    def _wire(self, reference: _Reference, target: str) -> Wire | None:
        """Return the wire of one reference; report and return ``None`` when it leads nowhere."""
        id, dot, port = reference.text.partition(".")
        port = port if dot else "out"
        span = self._places.text(reference.path, 0, len(id))
        if "${" in reference.text:
            self._wired = False
            help = "write the id of the node"
            self._report.add(
                "FR053", self._places.value(reference.path), "`from` cannot have a variable", help=help
            )
            return None
        source = self._nodes.get(id)
        if source is None:
            self._wired = False
            others = [name for name in self._nodes if name != target]
            help = did_you_mean(id, others, f"the flow has {listing(others)}" if others else "add the node")
            self._report.add("FR012", span, f"there is no node `{id}`", help=help)
            return None
        if port != ERRORS:
            self._used.add(id)
        return Wire(id, port, target) if self._port(source, port, reference) else None

    def _port(self, source: NodeEntry, port: str, reference: _Reference) -> bool:
        ports = ports_of(source.type, source.options) if source.type is not None else None
        if ports is None or port in (*ports, ERRORS):
            return True
        known = (*ports, ERRORS)
        offset = len(source.id) + 1 if "." in reference.text else 0
        span = self._places.text(reference.path, offset, len(port) if offset else len(reference.text))
        has = f"it has {listing(known)}" if ports else "it is a sink and has only `errors`"
        help = (
            f"write `{source.id}.{known[0]}`"
            if offset == 0
            else did_you_mean(port, known, "choose one of these")
        )
        self._report.add("FR013", span, f"`{source.id}` has no port `{port}`; {has}", help=help)
        return False

    def circles(self, wires: Wires) -> None:
        """Report each circle at the wire that closes it."""
        for ring in cycles({id: [wire.source for wire in into] for id, into in wires.items()}):
            path = " → ".join(ring)
            at = (*self._nodes[ring[0]].path, "from")
            references = self._references(self._nodes[ring[0]], at)
            closing = next(ref.path for ref in references if ref.text.partition(".")[0] == ring[-2])
            help = "messages would go round for ever: take one of these wires away"
            self._report.add(
                "FR015", self._places.value(closing), f"these nodes feed each other: {path}", help=help
            )

    def unused(self) -> None:
        """Warn of sources and transforms whose messages go nowhere."""
        if not self._wired:
            return
        for entry in self._nodes.values():
            if entry.type is not None and entry.type.kind != "sink" and entry.id not in self._used:
                help = f"add a node with `from: {entry.id}`, or remove `{entry.id}`"
                message = f"nothing reads from `{entry.id}`"
                self._report.add("FR018", self._places.key(entry.path), message, help=help)

    def connection(self, entry: NodeEntry, connections: Mapping[str, ConnectionEntry]) -> None:
        """Check that a node's connection exists and is of the right type."""
        name, type = connection_name(entry), entry.type
        if name is None or type is None:
            return
        span = self._places.value((*entry.path, "connection"))
        written = self._places.find((*entry.path, "connection"))
        shown = written.text if isinstance(written, Scalar) else name
        found = connections.get(name)
        right = [
            known.name for known in connections.values() if known.type and known.type.name == type.connection
        ]
        if found is None and entry.guesses("connection"):
            return
        if found is None:
            otherwise = f"there are {listing(right)}" if right else _how_to_add("name", type.connection)
            help = did_you_mean(shown, right, otherwise)
            self._report.add("FR014", span, f"there is no connection `{shown}`", help=help)
        elif found.type is not None and found.type.name != type.connection:
            message = f"`{type.name}` needs a connection of type `{type.connection}`; `{shown}` is `{found.type.name}`"
            help = f"choose {listing(right, 'or')}" if right else _how_to_add("name", type.connection)
            self._report.add("FR014", span, message, help=help)


def _how_to_add(name: str, type: str | None) -> str:
    return f"add it: connections: {{ {name}: {{ type: {type}, … }} }}"
