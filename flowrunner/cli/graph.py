"""``flowrunner graph``: flows as pictures, or as text that other tools draw."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from flowrunner.cli.exits import EX_CONFIG, EX_USAGE, complain
from flowrunner.diagnostics import render_text
from flowrunner.graph.build import Graph
from flowrunner.graph.load import Loaded, load_flows

type Format = Literal["mermaid", "dot", "svg"]


def graph(paths: Sequence[Path], *, format: Format, stages: bool, flow: str | None) -> int:
    """Print the flows at ``paths`` and return the exit code: 78 when one of them is not valid."""
    loaded = load_flows(paths, environment=os.environ)
    errors = [found for found in loaded.diagnostics if found.severity == "error"]
    if errors:
        color = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        sys.stderr.write(render_text(errors, loaded.texts, color=color))
        return EX_USAGE if any(found.code == "FR060" for found in errors) else EX_CONFIG
    return _draw_chosen(loaded, format, stages=stages, flow=flow)


def _draw_chosen(loaded: Loaded, format: Format, *, stages: bool, flow: str | None) -> int:
    names = ", ".join(loaded.graphs)
    if not loaded.graphs:
        return complain("there is no flow to draw", code=EX_CONFIG)
    if flow is not None and flow not in loaded.graphs:
        return complain(f"there is no flow `{flow}`", help=f"the flows are: {names}")
    chosen = list(loaded.graphs.values()) if flow is None else [loaded.graphs[flow]]
    if format == "svg" and len(chosen) > 1:
        return complain("svg draws one flow", help=f"choose one with --flow: {names}")
    sys.stdout.write("\n".join(_draw(each, format, _stages(each) if stages else []) for each in chosen))
    return 0


def _draw(graph: Graph, format: Format, stages: Sequence[Sequence[str]]) -> str:
    from flowrunner.graph.diagram import draw_dot, draw_mermaid
    from flowrunner.graph.draw import draw_svg

    draw = {"mermaid": draw_mermaid, "dot": draw_dot, "svg": draw_svg}[format]
    return draw(graph, stages)


def _stages(graph: Graph) -> list[list[str]]:
    from flowrunner.runtime.compile import stage_plan

    return stage_plan(graph)
