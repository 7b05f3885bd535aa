"""One flow file: read, parsed, and the options of its nodes and connections checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any

import msgspec
from pydantic import ValidationError

from flowrunner.config.document import decode, parse
from flowrunner.config.explain import Explainer, Shape
from flowrunner.config.mask import Mask
from flowrunner.config.model import NAME, NAME_HELP, Delivery, FlowConfig
from flowrunner.config.options import UNSET, OptionReader
from flowrunner.config.places import Places
from flowrunner.config.report import Report
from flowrunner.config.snapshot import Snapshot
from flowrunner.config.tree import Path, plain
from flowrunner.config.variables import Environment
from flowrunner.config.words import did_you_mean, listing
from flowrunner.message import Json
from flowrunner.node import NodeOptions
from flowrunner.options import Options
from flowrunner.registry import (
    ConnectionType,
    NodeType,
    connection_type_names,
    find_connection_type,
    find_node_type,
    node_type_names,
)


class NodeEntry(msgspec.Struct, frozen=True):
    """A node as it stands in a file."""

    id: str
    path: Path
    type: NodeType | None
    options: NodeOptions | None
    """``None`` when they have mistakes, or hang on variables that are not set."""
    sources: Json
    """What stands at ``from``; ``None`` when nothing does."""
    definition: Json

    def guesses(self, option: str) -> bool:
        """Whether an option has a sample for a variable that is not set."""
        value = self.definition.get(option) if isinstance(self.definition, dict) else None
        return isinstance(value, dict) and UNSET in value


class ConnectionEntry(msgspec.Struct, frozen=True):
    """A connection as it stands in a file."""

    name: str
    path: Path
    type: ConnectionType | None
    options: Options | None
    definition: Json


class FlowFile(msgspec.Struct):
    """One parsed file."""

    path: str
    """As it is named in diagnostics."""
    text: str
    """As it may be shown: with literal secrets made unreadable."""
    report: Report
    places: Places | None = None
    """``None`` when the file could not be parsed."""
    holds_flow: bool = True
    """Whether it is a flow, with or without mistakes, and not just connections."""
    flow: str | None = None
    """The flow's name; ``None`` when it has no valid one."""
    description: str | None = None
    delivery: Delivery = "journal"
    nodes: dict[str, NodeEntry] = {}
    connections: dict[str, ConnectionEntry] = {}


def load_file(
    path: FilePath, variables: Mapping[str, str], *, strict: bool, snapshot: Snapshot | None = None
) -> FlowFile:
    """Read one file; mistakes are in its ``report``. Never raises for what stands in the file."""
    report = Report(str(path))
    try:
        data = snapshot.files.get(path) if snapshot is not None else None
        if data is None:
            data = path.read_bytes()
    except OSError as error:
        report.file("FR061", f"the file cannot be read: {error.strerror}", help="check its permissions")
        return FlowFile(str(path), "", report)
    text = decode(data, report)
    file = FlowFile(str(path), data.decode(errors="replace") if text is None else text, report)
    document = parse(text, report) if text is not None else None
    if document is not None and document.root is not None:
        file.places = Places(document.root, document.lines)
        named = snapshot.named if snapshot is not None else {}
        reader = OptionReader(
            file.places, report, Environment(variables, path.parent, strict=strict, files=named)
        )
        _Loader(file, file.places, reader).load(plain(document.root), path)
        file.text = file.places.without(reader.secrets)
    return file


class _Loader:
    """Fills in a :class:`FlowFile` from the values of its document."""

    def __init__(self, file: FlowFile, places: Places, reader: OptionReader) -> None:
        self._file = file
        self._report = file.report
        self._places = places
        self._reader = reader

    def load(self, values: dict[str, Any], path: FilePath) -> None:
        self._check_top(values)
        description, delivery = values.get("description"), values.get("delivery")
        self._file.description = description if isinstance(description, str) else None
        self._file.delivery = "memory" if delivery == "memory" else "journal"
        for name, options in _entries(values.get("connections")):
            self._file.connections[name] = self._connection(name, options)
        for id, options in _entries(values.get("nodes")):
            self._file.nodes[id] = self._node(id, options)
        self._file.holds_flow = "nodes" in values or "connections" not in values
        if values.get("nodes") == {}:
            help = "add a source and a sink, or take the file away"
            self._report.add("FR021", self._places.key(("nodes",)), "the flow has no nodes", help=help)
        if "nodes" in values:
            self._file.flow = self._flow_name(values, path)
        elif self._file.holds_flow and not self._report.failed:
            help = "add `nodes:`, or `connections:` that other files use"
            self._report.file("FR021", "the file has neither nodes nor connections", help=help)

    def _check_top(self, values: dict[str, Any]) -> None:
        try:
            FlowConfig.model_validate(values)
        except ValidationError as refused:
            top = Explainer((), self._places, Shape("a flow file", FlowConfig), Mask(FlowConfig, {}))
            for finding in top.explain(refused.errors(include_url=False)):
                place = self._places.key if finding.at_key else self._places.value
                self._report.add(finding.code, place(finding.path), finding.message, help=finding.help)

    def _flow_name(self, values: dict[str, Any], path: FilePath) -> str | None:
        name = values.get("flow")
        if name is None:
            name = path.stem
            if not NAME.fullmatch(name):
                message = f"the file's name, `{name}`, cannot be the name of a flow"
                self._report.file("FR026", message, help=f"add `flow:` with a name; {NAME_HELP}")
        return name if isinstance(name, str) and NAME.fullmatch(name) else None

    def _connection(self, name: str, values: dict[str, Any] | None) -> ConnectionEntry:
        path: Path = ("connections", name)
        type = self._type(path, values, "connection", find_connection_type, connection_type_names)
        if type is None or values is None:
            return ConnectionEntry(name, path, None, None, values)
        values = {key: value for key, value in values.items() if key != "type"}
        read = self._reader.read(type.config, path, values, f"a connection of type `{type.name}`")
        return ConnectionEntry(
            name, path, type, read.options, {"type": type.name, "options": read.definition}
        )

    def _node(self, id: str, values: dict[str, Any] | None) -> NodeEntry:
        path: Path = ("nodes", id)
        sources = values.get("from") if values is not None else None
        type = self._type(path, values, "node", find_node_type, node_type_names)
        if type is None or values is None:
            return NodeEntry(id, path, None, None, sources, values)
        values = {key: value for key, value in values.items() if key != "from"}
        read = self._reader.read(type.config, path, values, f"`{type.name}`")
        return NodeEntry(id, path, type, read.options, sources, read.definition)

    def _type[T](
        self,
        path: Path,
        values: dict[str, Any] | None,
        kind: str,
        find: Callable[[str], T | None],
        names: Callable[[], list[str]],
    ) -> T | None:
        """Return the type that an entry names; report and return ``None`` when there is none such."""
        if values is None:
            return None
        name = values.get("type")
        place = (*path, "type")
        if "type" not in values:
            help = f"there are {listing(names())}"
            self._report.add(
                "FR021", self._places.key(path), f"the {kind} `{path[-1]}` needs a `type`", help=help
            )
        elif not isinstance(name, str):
            self._report.add("FR022", self._places.value(place), "`type` must be a text")
        elif "${" in name:
            self._report.add(
                "FR053", self._places.value(place), "`type` cannot have a variable", help="write the type"
            )
        elif (found := self._find(place, kind, name, find)) is not None:
            return found
        elif name not in names():
            help = did_you_mean(name, names(), f"there are {listing(names())}")
            self._report.add(
                "FR011", self._places.value(place), f"there is no {kind} type `{name}`", help=help
            )
        return None

    def _find[T](self, place: Path, kind: str, name: str, find: Callable[[str], T | None]) -> T | None:
        try:
            return find(name)
        except Exception as error:
            message = f"the {kind} type `{name}` cannot be loaded: {error}"
            help = "its package is installed but broken; reinstall it or tell its author"
            self._report.add("FR011", self._places.value(place), message, help=help)
        return None


def _entries(values: Any) -> list[tuple[str, dict[str, Any] | None]]:
    """Return the entries of a mapping; what is no mapping itself is reported where the top level is checked."""
    items = values.items() if isinstance(values, dict) else ()
    return [(key, value if isinstance(value, dict) else None) for key, value in items]
