"""How a graph is cut into tasks and channels."""

from __future__ import annotations

from typing import Any

import pytest

from flowrunner.graph.build import Graph
from flowrunner.runtime.compile import compile_graph, stage_plan
from tests.runtime.flows import FlowBuilder
from tests.runtime.test_flow import Even

OWN: dict[str, Any] = {"buffer": {"capacity": 1}}

GRAPHS: dict[str, tuple[FlowBuilder, list[list[str]]]] = {
    "a chain is one task, and the sink another": (
        FlowBuilder().source("a").node("b", Even, "a").node("c", Even, "b").sink("s", "c"),
        [["a", "b", "c"], ["s"]],
    ),
    "what has nothing to do with each other is pumped together": (
        FlowBuilder().source("a").source("b").node("c", Even, "b").sink("s", "a", "c"),
        [["a", "b", "c"], ["s"]],
    ),
    "a buffer starts a stage that goes on to the sink": (
        FlowBuilder().source("a").node("b", Even, "a", **OWN).node("c", Even, "b").sink("s", "c"),
        [["a"], ["b", "c"], ["s"]],
    ),
    "what a sink rejects is processed in a stage": (
        FlowBuilder().source("a").sink("s", "a").node("b", Even, "s.errors").sink("bad", "b"),
        [["a"], ["s"], ["b"], ["bad"]],
    ),
    "what a sink rejects goes to the next sink": (
        FlowBuilder().source("a").sink("s", "a").sink("t", "s.errors").node("b", Even, "t.errors"),
        [["a"], ["s"], ["t"], ["b"]],
    ),
    "without a source there is a pump that tells the time": (
        FlowBuilder().node("b", Even).sink("s", "b"),
        [["b"], ["s"]],
    ),
    "with nothing but a sink the pump is empty": (FlowBuilder().sink("s"), [[], ["s"]]),
    "a stage whose source is disabled stays a stage": (
        FlowBuilder().source("a").sink("s", "a").node("b", Even, **OWN).sink("t", "b"),
        [["a"], ["s"], ["b"], ["t"]],
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_tasks_of_a_graph(name: str) -> None:
    builder, tasks = GRAPHS[name]

    assert tasks == stage_plan(builder.graph())


@pytest.mark.parametrize("name", GRAPHS)
def test_every_task_but_the_pump_hears_of_the_pump(name: str) -> None:
    plan = compile_graph(GRAPHS[name][0].graph())

    heard = {0}
    for _ in plan.tasks:
        heard |= {plan.task_of(channel.target) for channel in plan.channels if channel.producer in heard}

    assert set(range(len(plan.tasks))) == heard


def _progress(graph: Graph) -> dict[str, bool]:
    return {channel.target: channel.progress for channel in compile_graph(graph).channels}


def test_only_who_needs_every_step_hears_of_every_step() -> None:
    assert {"s": False} == _progress(FlowBuilder().source("a").sink("s", "a").graph())
    chain = GRAPHS["what a sink rejects goes to the next sink"][0].graph()
    assert {"s": True, "t": True, "b": True} == _progress(chain)
