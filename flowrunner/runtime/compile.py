"""Cut a graph into tasks. A pure function: nothing is constructed or started here.

One task pumps the journal and runs every transform that depends on nothing slower; a sink has a task of its
own; a transform with a ``buffer:`` of its own, or behind the ``errors`` port of a sink, starts a further stage.
Within a stage the transforms run one after the other on whole batches, without a channel in between.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from flowrunner.graph.build import Graph, GraphNode


class TaskPlan(msgspec.Struct, frozen=True):
    """The nodes of one task, in topological order."""

    kind: Literal["pump", "stage", "sink"]
    nodes: tuple[str, ...]


class ChannelPlan(msgspec.Struct, frozen=True):
    """One channel: all wires from one task to one node of another, none for some of the pump's."""

    producer: int
    target: str
    progress: bool
    """Whether the target's task must hear of every step: it has timers or several inputs."""


class Plan(msgspec.Struct, frozen=True):
    """The tasks of a flow (the first is the pump) and the channels between them."""

    tasks: tuple[TaskPlan, ...]
    channels: tuple[ChannelPlan, ...]

    def task_of(self, node: str) -> int:
        """Return the number of the task that runs a node."""
        return next(number for number, task in enumerate(self.tasks) if node in task.nodes)


def compile_graph(graph: Graph) -> Plan:
    """Return the tasks and channels that run ``graph``."""
    levels = _levels(graph)
    groups = _Groups(graph.nodes)
    for wire in graph.wires:
        pair = graph.nodes[wire.source], graph.nodes[wire.target]
        if levels[wire.source] == levels[wire.target] and not any(node.type.kind == "sink" for node in pair):
            groups.join(wire.source, wire.target)
    pumped = [name for name, node in graph.nodes.items() if levels[name] == 0 and node.type.kind != "sink"]
    for name in pumped:
        groups.join(pumped[0], name)
    tasks = _tasks(graph, groups, pumped)
    task_of = {name: number for number, task in enumerate(tasks) for name in task.nodes}
    return Plan(tuple(tasks), tuple(_channels(graph, tasks, task_of)))


def stage_plan(graph: Graph) -> list[list[str]]:
    """Return the node ids of each task, as ``flowrunner graph --stages`` shows them."""
    return [list(task.nodes) for task in compile_graph(graph).tasks]


def _levels(graph: Graph) -> dict[str, int]:
    """Number the nodes by how many task boundaries lie before them."""
    levels: dict[str, int] = {}
    for name, node in graph.nodes.items():
        before = [
            levels[wire.source] + (graph.nodes[wire.source].type.kind == "sink")
            for wire in graph.inputs(name)
        ]
        levels[name] = max(before, default=0) + _starts_stage(node)
    return levels


def _starts_stage(node: GraphNode) -> bool:
    return node.type.kind == "transform" and node.config.buffer is not None


class _Groups:
    """Disjoint sets of node ids."""

    def __init__(self, names: dict[str, GraphNode]) -> None:
        self._leader = {name: name for name in names}

    def find(self, name: str) -> str:
        while self._leader[name] != name:
            name = self._leader[name]
        return name

    def join(self, one: str, other: str) -> None:
        self._leader[self.find(other)] = self.find(one)


def _tasks(graph: Graph, groups: _Groups, pumped: list[str]) -> list[TaskPlan]:
    members: dict[str, list[str]] = {}
    for name in graph.nodes:
        members.setdefault(groups.find(name), []).append(name)
    pumped = members.pop(groups.find(pumped[0]), []) if pumped else []
    tasks = [TaskPlan("pump", tuple(pumped))]
    for names in members.values():
        kind: Literal["stage", "sink"] = "sink" if graph.nodes[names[0]].type.kind == "sink" else "stage"
        tasks.append(TaskPlan(kind, tuple(names)))
    return tasks


def _channels(graph: Graph, tasks: list[TaskPlan], task_of: dict[str, int]) -> list[ChannelPlan]:
    pairs: dict[tuple[int, str], None] = {}
    for wire in graph.wires:
        producer = task_of[wire.source]
        if producer != task_of[wire.target]:
            pairs.setdefault((producer, wire.target))
    for task in tasks[1:]:
        for name in task.nodes:
            # Where a dead letter begins that is replayed; and a stage whose sources are disabled still has timers.
            pairs.setdefault((0, name))
    inputs: dict[int, int] = {}
    for _, target in pairs:
        inputs[task_of[target]] = inputs.get(task_of[target], 0) + 1
    plans = []
    for producer, target in pairs:
        consumer = task_of[target]
        progress = tasks[consumer].kind == "stage" or inputs[consumer] > 1
        plans.append(ChannelPlan(producer, target, progress))
    return _pass_on_progress(plans, tasks, task_of)


def _pass_on_progress(
    plans: list[ChannelPlan], tasks: list[TaskPlan], task_of: dict[str, int]
) -> list[ChannelPlan]:
    """A task before one that needs to hear of every step must itself hear of every step."""
    needy = {plan.producer for plan in plans if plan.progress}
    for number in range(len(tasks) - 1, -1, -1):
        if number in needy:
            needy |= {plan.producer for plan in plans if task_of[plan.target] == number}
    return [
        ChannelPlan(plan.producer, plan.target, plan.progress or task_of[plan.target] in needy)
        for plan in plans
    ]
