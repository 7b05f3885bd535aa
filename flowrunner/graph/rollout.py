"""What a reload does with all flows: which are started, changed and removed, and which a mistake leaves as they are.

Pure, as :func:`flowrunner.graph.diff.diff` is for one flow; the runtime carries out exactly this.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from flowrunner.graph.build import Graph
from flowrunner.graph.diff import Plan, diff
from flowrunner.graph.load import Loaded

type FlowOutcome = Literal["unchanged", "changed", "added", "removed", "refused"]
"""*refused*: a mistake may be why the flow is not there, so the version that runs goes on."""


class FlowPlan(msgspec.Struct, frozen=True):
    """What a reload does with one flow."""

    flow: str
    file: str
    outcome: FlowOutcome
    plan: Plan


def roll_out(running: Mapping[str, Graph], loaded: Loaded) -> list[FlowPlan]:
    """Return what going over from the flows that run to those in the files does: first what ends, then the rest."""
    ending = [_without_new(graph, loaded) for name, graph in running.items() if name not in loaded.graphs]
    return ending + [_with_new(running.get(name), graph) for name, graph in loaded.graphs.items()]


def in_doubt(graph: Graph, loaded: Loaded) -> bool:
    """Return whether a flow that was not loaded may still be meant: it is removed only when it is surely gone."""
    file = graph.file
    errors = [found for found in loaded.diagnostics if found.severity == "error"]
    if any(loaded.names.get(found.file) == graph.name for found in errors):
        return True  # another file says that it holds this flow: it was renamed, or got a new name
    if file in loaded.texts:
        # Nothing came of its file: because of a mistake there, or in a connection that another file brings.
        return bool(errors) and all(graph.file != file for graph in loaded.graphs.values())
    missing = [Path(found.file) for found in errors if found.code == "FR060" or found.file == file]
    return any(Path(file).is_relative_to(path) for path in missing)


def _without_new(old: Graph, loaded: Loaded) -> FlowPlan:
    if in_doubt(old, loaded):
        return FlowPlan(old.name, old.file, "refused", diff(old, old))
    return FlowPlan(old.name, old.file, "removed", _without_reasons(diff(old, _empty(old))))


def _with_new(old: Graph | None, new: Graph) -> FlowPlan:
    if old is None:
        return FlowPlan(new.name, new.file, "added", diff(_empty(new), new))
    outcome: FlowOutcome = "unchanged" if old.digest == new.digest else "changed"
    return FlowPlan(new.name, new.file, outcome, diff(old, new))


def _empty(graph: Graph) -> Graph:
    return msgspec.structs.replace(graph, nodes={}, wires=(), connections={}, definitions={})


def _without_reasons(plan: Plan) -> Plan:
    """Return the plan of a flow that is removed: its nodes end with it, and its state stays in its directory."""
    nodes = tuple(msgspec.structs.replace(change, reasons=()) for change in plan.nodes)
    connections = tuple(msgspec.structs.replace(change, reasons=()) for change in plan.connections)
    return Plan(plan.flow, nodes, connections)
