"""The order of nodes, and the circles in it."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

_MOST_CYCLES = 10


def in_order(sources: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the nodes such that each comes after its sources; ties stay in the order of the mapping."""
    sorter = TopologicalSorter(sources)
    sorter.prepare()
    rank = {id: index for index, id in enumerate(sources)}
    names = list(sources)
    ready = [rank[id] for id in sorter.get_ready()]
    heapq.heapify(ready)
    order = []
    while ready:
        id = names[heapq.heappop(ready)]
        order.append(id)
        sorter.done(id)
        for freed in sorter.get_ready():
            heapq.heappush(ready, rank[freed])
    return order


def cycles(sources: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return circles of nodes, each as a path in the direction of the wires whose ends are the same node.

    They begin with their first node of the mapping. Of many, some are returned: taking these apart and looking again
    finds the others.
    """
    rank = {id: index for index, id in enumerate(sources)}
    left = {id: list(dict.fromkeys(known)) for id, known in sources.items()}
    found: list[list[str]] = []
    while len(found) < _MOST_CYCLES:
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            ring: list[str] = error.args[1][:-1]
        else:
            break
        first = min(range(len(ring)), key=lambda at: rank[ring[at]])
        ring = ring[first:] + ring[:first]
        found.append([*ring, ring[0]])
        left[ring[0]].remove(ring[-1])
    return found
