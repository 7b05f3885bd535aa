"""A flow as a picture: SVG for the command line, the documentation and the live page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from flowrunner.graph.layout import Box, Line, arrange

if TYPE_CHECKING:
    from flowrunner.graph.build import Graph, GraphNode, Wire

MARGIN = 24.0
BAND = 32.0
PORT_GAP = 16.0
MIN_WIDTH = 128.0
LONGEST_NAME = 30

STYLE = """\
.flow {
  --canvas: #fbfbfa; --ink: #1f2328; --faint: #57606a; --edge: #8c96a3; --wire: #98a2ae;
  --source: #1a7f64; --source-box: #cdeadf; --transform: #3f6ad8; --transform-box: #dbe5fd;
  --sink: #b35900; --sink-box: #fde3c8; --errors: #cf222e; --stage: #3f6ad8;
  background: var(--canvas); font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
@media (prefers-color-scheme: dark) {
  .flow {
    --canvas: #0f1318; --ink: #e6edf3; --faint: #a3adb8; --edge: #59636f; --wire: #6e7885;
    --source: #2b9c7d; --source-box: #17362e; --transform: #5580ea; --transform-box: #1d2a4a;
    --sink: #c9741f; --sink-box: #43290f; --errors: #f0625d; --stage: #7d9df0;
  }
}
.flow .box { stroke: var(--edge); stroke-width: 1; }
.flow .source .box { fill: var(--source-box); }
.flow .transform .box { fill: var(--transform-box); }
.flow .sink .box { fill: var(--sink-box); }
.flow .name { fill: var(--ink); font-size: 13px; font-weight: 600; }
.flow .type { fill: var(--faint); font-size: 11px; }
.flow .icon { fill: none; stroke: #ffffff; stroke-width: 1.6; stroke-linecap: round; stroke-linejoin: round; }
.flow .source .band { fill: var(--source); }
.flow .transform .band { fill: var(--transform); }
.flow .sink .band { fill: var(--sink); }
.flow .port { fill: var(--wire); stroke: var(--canvas); stroke-width: 1.5; }
.flow .port.open { fill: var(--canvas); stroke: var(--wire); }
.flow .port.errors { fill: var(--errors); }
.flow .wire { fill: none; stroke: var(--wire); stroke-width: 2.5; stroke-linecap: round; }
.flow .wire.errors { stroke: var(--errors); stroke-dasharray: 6 5; }
.flow .label { fill: var(--faint); font-size: 10px; text-anchor: end; }
.flow .stage { opacity: 0.16; fill: var(--stage); stroke: var(--stage); stroke-linejoin: round; }
.flow .stage path { fill: none; stroke-width: 22; }
.flow .stage rect { stroke-width: 12; }
"""

ICONS = {
    "source": "M-6 0h11M1 -4l4 4-4 4",
    "transform": "M-6 -3h3m4 0h5M-6 4h6m4 0h2M-1 -5v4M2 2v4",
    "sink": "M-6 0h9M-1 -4l4 4-4 4M6 -5v10",
}


def draw_svg(graph: Graph, stages: Sequence[Sequence[str]] = ()) -> str:
    """Return the flow as an SVG document, its nodes in layers from left to right.

    Every node is a group with ``data-node="ID"``, every wire a path with ``data-wire="ID.PORT-TARGET"``. Nodes that
    ``stages`` puts together (node ids) share a background. The same graph gives the same text.
    """
    ports = {id: _ports(graph, node) for id, node in graph.nodes.items()}
    boxes = {id: _box(node, ports[id]) for id, node in graph.nodes.items()}
    lines = [Line(wire.source, wire.target, _offset(ports[wire.source], wire.port)) for wire in graph.wires]
    width, height = arrange(boxes, lines)
    paths = [_path(boxes, line) for line in lines]
    title = _text(graph.name)
    size = f'width="{_n(width + 2 * MARGIN)}" height="{_n(height + 2 * MARGIN)}"'
    view = f"{_n(-MARGIN)} {_n(-MARGIN)} {_n(width + 2 * MARGIN)} {_n(height + 2 * MARGIN)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="flow" role="img" {size} viewBox="{view}">',
        f"<title>{title}</title>",
        f"<style>\n{STYLE}</style>",
    ]
    parts += [_stage(graph, stage, boxes, paths) for stage in stages if len(stage) > 1]
    parts += [_wire(wire, path) for wire, path in zip(graph.wires, paths, strict=True)]
    wired = {(wire.source, wire.port) for wire in graph.wires}
    for id, node in graph.nodes.items():
        stubs = [_stub(boxes[id], ports[id], port, open=(id, port) not in wired) for port in ports[id]]
        parts.append(_node(node, boxes[id], stubs))
    return "\n".join([*parts, "</svg>\n"])


def _box(node: GraphNode, ports: Sequence[str]) -> Box:
    text = max(8.0 * len(_short(node.id)), 6.6 * len(_short(node.type.name)))
    labels = max((6.2 * len(port) for port in ports if port != "out"), default=0.0)
    return Box(width=max(MIN_WIDTH, BAND + text + labels + 32), height=max(44.0, PORT_GAP * len(ports) + 10))


def _ports(graph: Graph, node: GraphNode) -> list[str]:
    """Return the ports to draw, from top to bottom; ``errors`` only when something is wired to it."""
    wired = any(wire.source == node.id and wire.port == "errors" for wire in graph.wires)
    return [*(port for port in node.ports if port != "errors"), *(["errors"] if wired else [])]


def _offset(ports: Sequence[str], port: str) -> float:
    return PORT_GAP * (ports.index(port) - (len(ports) - 1) / 2)


def _path(boxes: dict[str, Box], line: Line) -> str:
    """Return the line as an SVG path: level where it passes a layer, curved in between."""
    source, target = boxes[line.source], boxes[line.target]
    x, y = source.x + source.width, source.y + line.offset
    path = f"M{_n(x)} {_n(y)}"
    for left, right, level in [*line.bends, (target.x, target.x, target.y)]:
        middle = (x + left) / 2
        path += f"C{_n(middle)} {_n(y)} {_n(middle)} {_n(level)} {_n(left)} {_n(level)}"
        if right > left:
            path += f"H{_n(right)}"
        x, y = right, level
    return path


def _wire(wire: Wire, path: str) -> str:
    kind = "wire errors" if wire.port == "errors" else "wire"
    name = f"{wire.source}.{wire.port}-{wire.target}"
    return f'<path class="{kind}" data-wire="{_text(name)}" d="{path}"/>'


def _node(node: GraphNode, box: Box, stubs: Sequence[str]) -> str:
    kind, middle = node.type.kind, box.height / 2
    about = node.config.description or node.type.summary
    band = f"M6 0H{_n(BAND)}V{_n(box.height)}H6A6 6 0 0 1 0 {_n(box.height - 6)}V6A6 6 0 0 1 6 0Z"
    icon = BAND / 2 if kind == "source" else BAND / 2 + 2
    place = f"translate({_n(box.x)} {_n(box.y - middle)})"
    parts = [
        f'<g class="node {kind}" id="node-{_text(node.id)}" data-node="{_text(node.id)}" transform="{place}">',
        f"<title>{_text(node.id)}: {_text(about)}</title>",
        f'<rect class="box" width="{_n(box.width)}" height="{_n(box.height)}" rx="6"/>',
        f'<path class="band" d="{band}"/>',
        f'<path class="icon" transform="translate({_n(icon)} {_n(middle)})" d="{ICONS[kind]}"/>',
        f'<text class="name" x="{_n(BAND + 10)}" y="{_n(middle - 2)}">{_text(_short(node.id))}</text>',
        f'<text class="type" x="{_n(BAND + 10)}" y="{_n(middle + 13)}">{_text(_short(node.type.name))}</text>',
        "" if kind == "source" else _port(0, middle, "port", "in"),
    ]
    return "".join([*parts, *stubs, "</g>"])


def _stub(box: Box, ports: Sequence[str], port: str, *, open: bool) -> str:
    """Return an output port at the right edge, with its name inside the box unless it is ``out``."""
    y = box.height / 2 + _offset(ports, port)
    kind = "port errors" if port == "errors" else "port open" if open else "port"
    label = f'<text class="label" x="{_n(box.width - 9)}" y="{_n(y + 3.5)}">{_text(port)}</text>'
    return _port(box.width, y, kind, port) + ("" if port == "out" else label)


def _port(x: float, y: float, kind: str, name: str) -> str:
    place = f'x="{_n(x - 5)}" y="{_n(y - 5)}"'
    return f'<rect class="{kind}" {place} width="10" height="10" rx="3"><title>{_text(name)}</title></rect>'


def _stage(graph: Graph, stage: Sequence[str], boxes: dict[str, Box], paths: Sequence[str]) -> str:
    """Return a ribbon under the nodes of one stage and the wires between them."""
    members = set(stage)
    inner = [
        f'<path d="{path}"/>'
        for wire, path in zip(graph.wires, paths, strict=True)
        if wire.source in members and wire.target in members
    ]
    for box in (boxes[id] for id in stage):
        place = f'x="{_n(box.x - 5)}" y="{_n(box.y - box.height / 2 - 5)}"'
        inner.append(f'<rect {place} width="{_n(box.width + 10)}" height="{_n(box.height + 10)}" rx="6"/>')
    return f'<g class="stage" data-stage="{_text(" ".join(stage))}">{"".join(inner)}</g>'


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _text(value: str) -> str:
    """Escape ``value`` for text and attributes, without what XML cannot hold."""
    return escape(
        re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", value)
    )


def _n(number: float) -> str:
    """Return a coordinate with at most one decimal."""
    return f"{round(number, 1) + 0:g}"
