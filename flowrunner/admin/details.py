"""The route for what is to be known of one node: its options, its wires, what its type does."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException

from flowrunner.admin.process import Process
from flowrunner.admin.shown import Shower, options
from flowrunner.graph.build import ERRORS, Graph


def router(process: Process) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["flows"])

    @routes.get("/api/v1/flows/{flow}/nodes/{node}")
    async def details(flow: str, node: str) -> dict[str, Any]:
        """Return the options of a node, secrets masked, its wires and the reference of its type."""
        found = process.supervisor.flows.get(flow)
        if found is None:
            raise HTTPException(404, f"no flow `{flow}` is running")
        if node not in found.graph.nodes:
            raise HTTPException(404, f"flow `{flow}` has no node `{node}`")
        return describe(found.graph, node)

    return routes


def describe(graph: Graph, name: str) -> dict[str, Any]:
    """Return what is to be known of a node that is in its file or its type, and does not change."""
    node = graph.nodes[name]
    shown = options(node.config, Shower(graph))
    return {
        "node": name,
        "type": node.type.name,
        "kind": node.type.kind,
        "description": shown.pop("description", None),
        "options": {option: value for option, value in shown.items() if option != "type"},
        "ports": {port: node.type.ports.get(port, "") for port in [*node.ports, ERRORS]},
        "inputs": [f"{wire.source}.{wire.port}" for wire in graph.inputs(name)],
        "outputs": [f"{wire.port} → {wire.target}" for wire in graph.wires if wire.source == name],
        "reference": node.type.description,
    }
