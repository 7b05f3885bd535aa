"""A flow as text that other tools draw: Mermaid and Graphviz."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowrunner.graph.build import Graph, GraphNode, Wire

_SHAPES = {"source": ("([", "])"), "transform": ("[", "]"), "sink": ("[(", ")]")}
_COLOURS = {"source": "#1a7f64", "transform": "#3f6ad8", "sink": "#b35900"}


def draw_mermaid(graph: Graph, stages: Sequence[Sequence[str]] = ()) -> str:
    """Return a Mermaid flowchart; each of ``stages`` (node ids) becomes a subgraph."""
    nodes = _grouped(graph, stages, _mermaid_node, 'subgraph stage_{0} ["stage {0}"]', "end")
    wires = [_mermaid_wire(wire) for wire in graph.wires]
    classes = [f"classDef {kind} stroke:{colour},stroke-width:2px" for kind, colour in _COLOURS.items()]
    lines = ["flowchart LR", *(f"  {line}" for line in nodes + wires + classes)]
    return "\n".join(["---", f"title: {graph.name}", "---", *lines, ""])


def draw_dot(graph: Graph, stages: Sequence[Sequence[str]] = ()) -> str:
    """Return a Graphviz digraph; each of ``stages`` (node ids) becomes a cluster."""
    nodes = _grouped(graph, stages, _dot_node, 'subgraph cluster_{0} {{ label="stage {0}"', "}")
    head = [
        "rankdir=LR",
        'node [shape=box style=rounded fontname="Helvetica"]',
        'edge [fontname="Helvetica"]',
    ]
    lines = [*head, *nodes, *(_dot_wire(wire) for wire in graph.wires)]
    return "\n".join([f'digraph "{graph.name}" {{', *(f"  {line}" for line in lines), "}", ""])


def _grouped(
    graph: Graph,
    stages: Sequence[Sequence[str]],
    draw: Callable[[GraphNode], str],
    opening: str,
    closing: str,
) -> list[str]:
    """Return the lines of all nodes, those of a stage of several between ``opening`` and ``closing``."""
    lines: list[str] = []
    together = [stage for stage in stages if len(stage) > 1]
    for number, stage in enumerate(together, start=1):
        lines += [opening.format(number), *(f"  {draw(graph.nodes[id])}" for id in stage), closing]
    inside = {id for stage in together for id in stage}
    return lines + [draw(node) for id, node in graph.nodes.items() if id not in inside]


def _mermaid_node(node: GraphNode) -> str:
    left, right = _SHAPES[node.type.kind]
    return f'n_{node.id}{left}"{node.id}<br/><small>{node.type.name}</small>"{right}:::{node.type.kind}'


def _mermaid_wire(wire: Wire) -> str:
    """Return an arrow. Ids begin with ``n_`` because ``end`` and others are Mermaid's own words."""
    arrow = {"out": "-->", "errors": '-. "errors" .->'}.get(wire.port, f'-- "{wire.port}" -->')
    return f"n_{wire.source} {arrow} n_{wire.target}"


def _dot_node(node: GraphNode) -> str:
    return f'"{node.id}" [label="{node.id}\\n{node.type.name}" color="{_COLOURS[node.type.kind]}"]'


def _dot_wire(wire: Wire) -> str:
    options = {"out": "", "errors": ' [label="errors" style=dashed]'}.get(
        wire.port, f' [label="{wire.port}"]'
    )
    return f'"{wire.source}" -> "{wire.target}"{options}'
