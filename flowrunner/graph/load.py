"""From paths to graphs: all the flow files under them, everything wrong with any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from flowrunner.config.files import find_files
from flowrunner.config.load import ConnectionEntry, FlowFile, load_file
from flowrunner.config.snapshot import Snapshot
from flowrunner.config.tree import Path as TreePath
from flowrunner.diagnostics import Diagnostic
from flowrunner.graph.build import Graph, build
from flowrunner.graph.check import check


class Loaded(msgspec.Struct, frozen=True):
    """What a set of flow files holds."""

    graphs: dict[str, Graph]
    """By flow name, in the order of the files; only flows without errors."""
    flows: int
    """How many flows the files hold, those with errors included."""
    diagnostics: list[Diagnostic]
    """Sorted by file and place."""
    texts: dict[str, str]
    """The text of each file that was read, under the name that it has in diagnostics."""
    names: dict[str, str] = {}
    """The name of the flow in each file that has a valid one, though the flow may have mistakes."""


def load_flows(
    paths: Sequence[Path],
    *,
    environment: Mapping[str, str] | None = None,
    strict_environment: bool = False,
    snapshot: Snapshot | None = None,
) -> Loaded:
    """Load the flow files at ``paths`` (files or directories) and check them together.

    Variables are taken from ``environment``, by default from none. With ``strict_environment`` a variable that is
    not set and a ``${file:…}`` that cannot be read are errors; without it files of secrets are not opened at all.
    What is in ``snapshot`` is taken from there, as it was when that was made.
    """
    if snapshot is not None:
        found, diagnostics = list(snapshot.files), list(snapshot.diagnostics)
    else:
        found, diagnostics = find_files(paths)
    files = [
        load_file(path, environment or {}, strict=strict_environment, snapshot=snapshot) for path in found
    ]
    connections = _connections(files)
    _check_names(files)
    graphs: dict[str, Graph] = {}
    for file in files:
        wires = check(file, connections)
        if file.flow is None or file.report.failed:
            continue
        graph = build(file, wires, connections)
        if graph is not None:
            graphs[graph.name] = graph
    for file in files:
        diagnostics += file.report.diagnostics
    count = sum(file.holds_flow for file in files)
    texts = {file.path: file.text for file in files}
    names = {file.path: file.flow for file in files if file.flow is not None}
    return Loaded(graphs, count, sorted(diagnostics, key=_place), texts, names)


def _place(found: Diagnostic) -> tuple[str, int, int, str]:
    return found.file, found.line, found.column, found.code


def _connections(files: Sequence[FlowFile]) -> dict[str, ConnectionEntry]:
    """Return the connections of all files by name; report those that have the name of another."""
    known: dict[str, ConnectionEntry] = {}
    homes: dict[str, FlowFile] = {}
    for file in files:
        for name, entry in file.connections.items():
            if name in known:
                _same_name(f"connection `{name}`", entry.path, file, known[name].path, homes[name])
            else:
                known[name], homes[name] = entry, file
    return known


def _check_names(files: Sequence[FlowFile]) -> None:
    """Report flows that have the name of another, in both files: neither can be told from the other."""
    flows: dict[str, list[FlowFile]] = {}
    for file in files:
        if file.flow is not None:
            flows.setdefault(file.flow, []).append(file)
    for name, same in flows.items():
        for file in same:
            other = next((known for known in same if known is not file), None)
            if other is not None:
                _same_name(f"flow `{name}`", ("flow",), file, ("flow",), other)


def _same_name(what: str, at: TreePath, file: FlowFile, other_at: TreePath, other: FlowFile) -> None:
    if file.places is None or other.places is None:
        return
    line = other.places.value(other_at).line
    message = f"the {what} is defined in {other.path}:{line} too"
    file.report.add("FR019", file.places.value(at), message, help="give one of them another name")
