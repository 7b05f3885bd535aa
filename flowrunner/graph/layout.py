"""Where the boxes and lines of a picture go: layers from left to right, few crossings, straight lines.

The classic method of Sugiyama: every box gets a layer, long lines get a bend in each layer that they pass,
the layers are ordered by barycentres, then every layer is moved to where its neighbours are.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from itertools import pairwise

import msgspec

type Cell = str | tuple[int, int]
"""What stands in a layer: a box, or the bend of a line ``(index of the line, layer)``."""

SWEEPS = 24
BOX_GAP = 30.0
BEND_GAP = 18.0
LAYER_GAP = 60.0
COMPONENT_GAP = 36.0


class Box(msgspec.Struct):
    """One box: its size in pixels, and where :func:`arrange` put its left edge and its middle."""

    width: float
    height: float
    x: float = 0.0
    y: float = 0.0


class Line(msgspec.Struct):
    """A line from a box's right edge to another's left edge."""

    source: str
    target: str
    offset: float = 0.0
    """Where it starts, in pixels below the middle of the source."""
    bends: list[tuple[float, float, float]] = []
    """The layers that it passes: ``(left, right, y)``, in order."""


def arrange(boxes: Mapping[str, Box], lines: Sequence[Line]) -> tuple[float, float]:
    """Give every box and line its place, the same for the same input; return the width and height used.

    The lines must have no cycle. Parts that no line connects stand below each other.
    """
    width = top = 0.0
    for part in _parts(boxes, lines):
        own = [line for line in lines if line.source in part]
        picture = _Picture({name: boxes[name] for name in boxes if name in part}, own)
        right, bottom = picture.place(top)
        width, top = max(width, right), bottom + COMPONENT_GAP
    return width, max(0.0, top - COMPONENT_GAP)


def _parts(names: Iterable[str], lines: Iterable[Line]) -> list[set[str]]:
    """Return the connected parts, in the order of their first box."""
    part_of = {name: {name} for name in names}
    for line in lines:
        one, other = part_of[line.source], part_of[line.target]
        if one is not other:
            one |= other
            part_of.update(dict.fromkeys(other, one))
    return list({id(part): part for part in part_of.values()}.values())


class _Picture:
    """One connected part while it is being laid out."""

    def __init__(self, boxes: dict[str, Box], lines: list[Line]) -> None:
        self.boxes = boxes
        self.lines = lines
        self.links: list[tuple[Cell, Cell, float]] = []
        """Pieces of lines between neighbouring layers, with the offset of their start."""
        self.layers = self._ordered(self._layers())
        self.y: dict[Cell, float] = {}

    def place(self, top: float) -> tuple[float, float]:
        """Set all coordinates with ``top`` as the upper edge; return the right and the lower edge."""
        self._settle()
        shift = top - min(self.y[cell] - self._height(cell) / 2 for layer in self.layers for cell in layer)
        x = 0.0
        spans: list[tuple[float, float]] = []
        for layer in self.layers:
            width = max(self.boxes[cell].width for cell in layer if isinstance(cell, str))
            spans.append((x, x + width))
            for cell in layer:
                if isinstance(cell, str):
                    box = self.boxes[cell]
                    box.x, box.y, box.width = x, self.y[cell] + shift, width
            x += width + LAYER_GAP
        for index, line in enumerate(self.lines):
            cells = [
                cell
                for layer in self.layers
                for cell in layer
                if not isinstance(cell, str) and cell[0] == index
            ]
            line.bends = [(*spans[layer], self.y[index, layer] + shift) for _, layer in cells]
        bottom = max(self.y[cell] + self._height(cell) / 2 for layer in self.layers for cell in layer)
        return spans[-1][1], bottom + shift

    def _height(self, cell: Cell) -> float:
        return self.boxes[cell].height if isinstance(cell, str) else 0.0

    def _layers(self) -> list[list[Cell]]:
        """Put boxes and bends into layers, in the order in which a walk along the lines meets them."""
        layer_of = _longest_paths(self.boxes, self.lines)
        layers: list[list[Cell]] = [[] for _ in range(max(layer_of.values()) + 1)]
        leaving: dict[str, list[int]] = {name: [] for name in self.boxes}
        for index, line in enumerate(self.lines):
            leaving[line.source].append(index)
        seen: set[str] = set()
        pending = sorted(self.boxes, key=layer_of.__getitem__)[::-1]
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            layers[layer_of[name]].append(name)
            for index in leaving[name]:
                self._chain(index, layer_of, layers)
            pending += [self.lines[index].target for index in reversed(leaving[name])]
        return layers

    def _chain(self, index: int, layer_of: Mapping[str, int], layers: list[list[Cell]]) -> None:
        """Cut a line into links from layer to layer."""
        line = self.lines[index]
        cell: Cell = line.source
        offset = line.offset
        for layer in range(layer_of[line.source] + 1, layer_of[line.target]):
            bend = (index, layer)
            layers[layer].append(bend)
            self.links.append((cell, bend, offset))
            cell, offset = bend, 0.0
        self.links.append((cell, line.target, offset))

    def _ordered(self, layers: list[list[Cell]]) -> list[list[Cell]]:
        """Sort every layer by the mean place of its neighbours, to and fro; return the best order seen."""
        best, fewest = layers, self._crossings(layers)
        for sweep in range(SWEEPS):
            if fewest == 0:
                break
            layers = self._sweep(layers, backwards=sweep % 2 == 1)
            crossings = self._crossings(layers)
            if crossings < fewest:
                best, fewest = layers, crossings
        return best

    def _sweep(self, layers: list[list[Cell]], *, backwards: bool) -> list[list[Cell]]:
        neighbours: dict[Cell, list[tuple[Cell, float]]] = {}
        for left, right, offset in self.links:
            if backwards:
                neighbours.setdefault(left, []).append((right, -offset / 1000))
            else:
                neighbours.setdefault(right, []).append((left, offset / 1000))
        place: dict[Cell, float] = {}
        sweep: list[list[Cell]] = []
        for layer in reversed(layers) if backwards else layers:
            wanted = {
                cell: _mean([place[other] + shift for other, shift in neighbours[cell]])
                if cell in neighbours
                else float(index)
                for index, cell in enumerate(layer)
            }
            sweep.append(sorted(layer, key=wanted.__getitem__))
            place.update({cell: float(index) for index, cell in enumerate(sweep[-1])})
        return sweep[::-1] if backwards else sweep

    def _crossings(self, layers: list[list[Cell]]) -> int:
        place = {
            cell: (number, index) for number, layer in enumerate(layers) for index, cell in enumerate(layer)
        }
        ends: dict[int, list[tuple[int, float, int]]] = {}
        for left, right, offset in self.links:
            number, index = place[left]
            ends.setdefault(number, []).append((index, offset, place[right][1]))
        return sum(_inversions([right for *_, right in sorted(links)]) for links in ends.values())

    def _settle(self) -> None:
        """Move every layer, to and fro, to where the lines into and out of it become straight."""
        for layer in self.layers:
            self._move(layer, dict.fromkeys(layer, 0.0))
        before: dict[Cell, list[tuple[Cell, float]]] = {}
        after: dict[Cell, list[tuple[Cell, float]]] = {}
        for left, right, offset in self.links:
            before.setdefault(right, []).append((left, offset))
            after.setdefault(left, []).append((right, -offset))
        for sweep in range(SWEEPS):
            sides = ([before], [after], [before, after])[sweep % 3]
            for layer in self.layers if sweep % 2 == 0 else reversed(self.layers):
                ends = {cell: [end for side in sides for end in side.get(cell, ())] for cell in layer}
                self._move(
                    layer,
                    {
                        cell: _mean([self.y[other] + offset for other, offset in ends[cell]])
                        if ends[cell]
                        else self.y[cell]
                        for cell in layer
                    },
                )

    def _move(self, layer: list[Cell], wanted: Mapping[Cell, float]) -> None:
        """Place the cells of a layer as near to where they are wanted as their order and gaps allow.

        With the gaps taken out this is isotonic regression: cells that would overlap share their mean.
        """
        below = [0.0]
        for upper, lower in pairwise(layer):
            gap = BOX_GAP if isinstance(upper, str) and isinstance(lower, str) else BEND_GAP
            below.append(below[-1] + (self._height(upper) + self._height(lower)) / 2 + gap)
        blocks: list[tuple[float, int]] = []
        for cell, depth in zip(layer, below, strict=True):
            value, size = wanted[cell] - depth, 1
            while blocks and blocks[-1][0] >= value:
                other, count = blocks.pop()
                value, size = (value * size + other * count) / (size + count), size + count
            blocks.append((value, size))
        places = [value for value, size in blocks for _ in range(size)]
        for cell, place, depth in zip(layer, places, below, strict=True):
            self.y[cell] = place + depth


def _longest_paths(names: Iterable[str], lines: Sequence[Line]) -> dict[str, int]:
    """Return the layer of every box: after all that lead to it; one without any, right before its first reader."""
    sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(names, ()))
    leaving: dict[str, list[str]] = {}
    for line in lines:
        sorter.add(line.target, line.source)
        leaving.setdefault(line.source, []).append(line.target)
    order = list(sorter.static_order())
    layer_of = dict.fromkeys(order, 0)
    for name in order:
        for target in leaving.get(name, ()):
            layer_of[target] = max(layer_of[target], layer_of[name] + 1)
    led_to = {line.target for line in lines}
    for name, targets in leaving.items():
        if name not in led_to:
            layer_of[name] = min(layer_of[target] for target in targets) - 1
    return layer_of


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _inversions(values: Iterable[int]) -> int:
    seen: list[int] = []
    count = 0
    for value in values:
        count += len(seen) - bisect_right(seen, value)
        insort(seen, value)
    return count
