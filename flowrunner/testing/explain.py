"""Why something did not come: what became of the messages on their way."""

from __future__ import annotations

from collections.abc import Iterator

from flowrunner.counters import Counters
from flowrunner.graph.build import Graph
from flowrunner.options import format_duration
from flowrunner.testing.compare import Difference
from flowrunner.testing.model import FlowTest
from flowrunner.testing.play import Played
from flowrunner.testing.stand_in import FOR_GOOD
from flowrunner.testing.yaml_text import duration_text


def hint(test: FlowTest, played: Played, graph: Graph, difference: Difference) -> str | None:
    """Return what is likely to help with a difference, ``None`` when it speaks for itself."""
    end = duration_text(played.end)
    missing = [pair.index for pair in difference.pairs if pair.seen is None and pair.index is not None]
    latest = max([test.expect[index].at or 0 for index in missing], default=0)
    if latest > played.end:
        return f"the test ends at {end}; let time go on with {_advance(latest)}"
    refusals = [each for each in played.refusals if each.sink == difference.place]
    refusal = next((each for each in refusals if each.end > played.end), None)
    if refusal is not None and refusal.status not in FOR_GOOD:
        until = duration_text(refusal.end)
        return f"the server refuses until {until}, and the test ends at {end}; add {_advance(refusal.end)}"
    if difference.count:
        return None
    return next(_on_the_way(graph, played, difference.place.partition(".")[0]), None)


def _on_the_way(graph: Graph, played: Played, node: str) -> Iterator[str]:
    """Yield what became of messages at the nodes before one, the nearest first."""
    before = list(dict.fromkeys(wire.source for wire in graph.inputs(node)))
    for id in [node, *before]:
        counters = played.counters.get(id)
        if counters is not None and counters.received and not counters.emitted:
            yield from _ends(id, counters, played.end)
    for id in before:
        if graph.nodes[id].type.kind == "source":
            if not played.counters[id].received:
                yield f"nothing arrived at the source `{id}`"
        else:
            yield from _on_the_way(graph, played, id)


def _ends(id: str, counters: Counters, end: int) -> Iterator[str]:
    count = f"{counters.received} message{'' if counters.received == 1 else 's'}"
    if counters.held:
        yield f"`{id}` still holds {counters.held} of {count} at the end; let time go on with {_advance(end * 2)}"
    elif counters.filtered:
        yield f"`{id}` filtered out {counters.filtered} of {count}"
    elif counters.errors:
        yield f"`{id}` failed on {counters.errors} of {count}; expect them at `{id}.errors` to see why"


def _advance(at: int) -> str:
    return f"`- {{ at: {format_duration(at) if at else '1m'}, advance: true }}`"
