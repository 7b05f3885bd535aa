"""Construct what a plan describes: contexts, connections, nodes, outlets, channels. Starts nothing, opens nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from flowrunner.clock import Clock
from flowrunner.context import Connection, ConnectionContext, Context, Logger
from flowrunner.counters import Counters
from flowrunner.graph.build import Graph, GraphConnection
from flowrunner.message import Message
from flowrunner.node import BufferOptions, Sink, Source, Transform
from flowrunner.runtime.channel import Channel, Marker
from flowrunner.runtime.compile import ChannelPlan, Plan, compile_graph
from flowrunner.runtime.inbox import Inbox
from flowrunner.runtime.journal import Journal
from flowrunner.runtime.letters.letter import REPLAYED
from flowrunner.runtime.outbox.task import OutboxTask
from flowrunner.runtime.sinks import SinkTask
from flowrunner.runtime.sources import JournalContext, SourceTask
from flowrunner.runtime.stage import Ends, OnFailure, Outlet, Stage, Step, Target
from flowrunner.runtime.taps import Taps
from flowrunner.tracing.flow import FlowTraces


class Callbacks:
    """What the parts of a flow tell the flow."""

    def __init__(
        self,
        *,
        on_failure: OnFailure,
        on_marker: Callable[[str, Marker], None],
        on_written: Callable[[Sequence[Message]], None],
        on_finished: Callable[[], None],
    ) -> None:
        self.on_failure = on_failure
        self.on_marker = on_marker
        self.on_written = on_written
        self.on_finished = on_finished


class StageTask:
    """A stage behind channels: not the one that the pump runs itself. Named after its first node."""

    def __init__(self, name: str, stage: Stage, inbox: Inbox, ends: Ends) -> None:
        self.name = name
        self.stage = stage
        self.inbox = inbox
        self.ends = ends


class Former(msgspec.Struct, frozen=True):
    """The version before, and what of it goes on in a new one."""

    parts: Assembly
    nodes: frozenset[str]
    connections: frozenset[str]

    def counters(self, graph: Graph, name: str) -> Counters | None:
        """Return the counters that a node of ``graph`` carries on: those of its id, if that was of the same kind."""
        before = self.parts.graph.nodes.get(name)
        same = before is not None and before.type.kind == graph.nodes[name].type.kind
        return self.parts.contexts[name].counters if same else None


class SinkWiring(msgspec.Struct, frozen=True):
    """Between which parts a sink is to stand that goes on from the version before."""

    outlet: Outlet
    inbox: Inbox
    ends: Ends


class Assembly:
    """The constructed parts of one flow.

    With a version before, what goes on of it is shared by both and is not touched: until the flow goes over to the
    new one, and if it does not, the parts of the version before are as they were.
    """

    def __init__(
        self,
        graph: Graph,
        journal: Journal,
        clock: Clock,
        log: Logger,
        instance: str,
        callbacks: Callbacks,
        *,
        taps: Taps,
        outboxes: Path | None,
        former: Former | None = None,
    ) -> None:
        """``outboxes``: the directory for the outboxes of sinks; without it no sink has one."""
        self.graph = graph
        self.plan: Plan = compile_graph(graph)
        self._journal = journal
        self._taps = taps
        self._outboxes = outboxes
        self._clock = clock
        self._log = log
        self._callbacks = callbacks
        self._instance = instance
        self._former = former
        self._kept = former.nodes if former is not None else frozenset[str]()
        self.connections: dict[str, Connection[Any]] = {
            name: self._connection(connection) for name, connection in graph.connections.items()
        }
        self.contexts: dict[str, Context] = {name: self._context(name) for name in graph.nodes}
        self.channels: dict[tuple[int, str], Channel] = {
            (plan.producer, plan.target): self._channel(plan) for plan in self.plan.channels
        }
        self.ends = [Ends() for _ in self.plan.tasks]
        self.outlets: dict[str, Outlet] = {}
        self.steps: dict[str, Step] = {}
        self.sources: dict[str, SourceTask] = {}
        self.sinks: dict[str, SinkTask] = {}
        self.kept_sinks: dict[str, SinkWiring] = {}
        self.leaving: list[SinkTask] = []
        """Sinks that are no longer part of the flow, and still write what had come to them."""
        self.stages: list[StageTask] = []
        self._edges: dict[tuple[int, str], Target] = {}
        for number in reversed(range(len(self.plan.tasks))):
            self._task(number)
        self.entrances: dict[str, Target] = {
            name: self._target(0, name) for name in graph.nodes if name not in self.sources
        }
        """Where the pump puts a message that is meant for one node."""
        self.replays: JournalContext = (
            former.parts.replays
            if former is not None
            else JournalContext(journal, graph.name, REPLAYED, log=log, clock=clock)
        )
        """The way into the journal for dead letters that are replayed."""
        self.pumped = Stage([self.steps[name] for name in self.plan.tasks[0].nodes if name in self.steps])
        self._former = None  # versions must not hold on to each other

    @property
    def all_stages(self) -> list[Stage]:
        """The stage that the pump runs, and those behind channels."""
        return [self.pumped, *(task.stage for task in self.stages)]

    def trace(self, traces: FlowTraces | None) -> None:
        """Let messages be followed, or not."""
        for name, context in self.contexts.items():
            self.outlets[name].traces = context.tracing = traces
            if isinstance(context, JournalContext):
                context.traces = traces
        if traces is not None:
            traces.wire((wire.source, wire.target) for wire in self.graph.wires)

    @property
    def inboxes(self) -> list[Inbox]:
        """What the stages and sinks of this version receive from."""
        kept = [wiring.inbox for wiring in self.kept_sinks.values()]
        made = [sink.inbox for name, sink in self.sinks.items() if name not in self.kept_sinks]
        return [*kept, *made, *(stage.inbox for stage in self.stages)]

    def wired(self, name: str) -> frozenset[str]:
        """Return the ports of a node that have a wire."""
        return frozenset(wire.port for wire in self.graph.wires if wire.source == name)

    def _connection(self, connection: GraphConnection) -> Connection[Any]:
        if self._former is not None and connection.name in self._former.connections:
            return self._former.parts.connections[connection.name]
        context = ConnectionContext(self.graph.name, connection.name, self._clock, self._log, self._instance)
        return connection.type.cls(connection.config, context)

    @property
    def intakes(self) -> dict[str, JournalContext]:
        """Everything that brings records into the journal, by the name that they have there."""
        return {name: source.context for name, source in self.sources.items()} | {REPLAYED: self.replays}

    def _context(self, name: str) -> Context:
        if self._former is not None and name in self._kept:
            return self._former.parts.contexts[name]
        context = self._new_context(name)
        if self._former is not None and (counters := self._former.counters(self.graph, name)) is not None:
            context.counters = counters
        return context

    def _new_context(self, name: str) -> Context:
        node = self.graph.nodes[name]
        common: dict[str, Any] = {
            "log": self._log,
            "clock": self._clock,
            "wired": self.wired(name),
            "connection": self.connections.get(getattr(node.config, "connection", "")),
        }
        if node.type.kind == "source":
            return JournalContext(self._journal, self.graph.name, name, **common)
        return Context(self.graph.name, name, **common)

    def _channel(self, plan: ChannelPlan) -> Channel:
        buffer = self.graph.nodes[plan.target].config.buffer
        counters = self.contexts[plan.target].counters

        def on_drop(count: int) -> None:
            counters.received += count
            counters.drop("buffer_full", count)

        options = buffer or BufferOptions()
        # What is in front of an outbox is no buffer of its own: there the outbox does as `when_full` says.
        when_full = "block" if self._has_outbox(plan.target) else options.when_full
        return Channel(
            capacity=options.capacity,
            when_full=when_full,
            progress=plan.progress,
            on_drop=on_drop,
            to_stage=self.graph.nodes[plan.target].type.kind == "transform",
        )

    def _has_outbox(self, name: str) -> bool:
        return self._outboxes is not None and self.graph.nodes[name].config.outbox is not None

    def _task(self, number: int) -> None:
        """Construct the nodes of one task, last node first: a wire needs its end before its beginning."""
        plan = self.plan.tasks[number]
        for name in reversed(plan.nodes):
            node = self.graph.nodes[name]
            context = self.contexts[name]
            outlet = self.outlets[name] = Outlet(
                context, self._wires(number, name), self._callbacks.on_failure, self._taps.at(name)
            )
            if self._former is not None and name in self._kept:
                self._keep(number, name, self._former.parts)
                continue
            instance = node.type.cls(node.config, context)
            if isinstance(instance, Transform):
                self.steps[name] = Step(instance, outlet)
            elif isinstance(instance, Source) and isinstance(context, JournalContext):
                self.sources[name] = SourceTask(instance, context, self._callbacks.on_finished)
            elif isinstance(instance, Sink):
                self._sink(number, name, instance, outlet)
        if plan.kind == "stage":
            stage = Stage([self.steps[name] for name in plan.nodes])
            self.stages.append(StageTask(plan.nodes[0], stage, self._inbox(plan.nodes), self.ends[number]))

    def _keep(self, number: int, name: str, former: Assembly) -> None:
        """Take a node over as it is: a transform in a new step, a source or sink with the task around it."""
        if name in former.steps:
            self.steps[name] = Step(former.steps[name].node, self.outlets[name])
        elif name in former.sources:
            self.sources[name] = former.sources[name]
        else:
            self.sinks[name] = former.sinks[name]
            self.kept_sinks[name] = SinkWiring(self.outlets[name], self._inbox((name,)), self.ends[number])

    def _sink(self, number: int, name: str, node: Sink[Any], outlet: Outlet) -> None:
        given: dict[str, Any] = {
            "inbox": self._inbox((name,)),
            "ends": self.ends[number],
            "on_marker": lambda marker: self._callbacks.on_marker(name, marker),
            "on_written": self._callbacks.on_written,
        }
        if self._outboxes is not None and self._has_outbox(name):
            self.sinks[name] = OutboxTask(node, outlet, directory=self._outboxes / name, **given)
        else:
            self.sinks[name] = SinkTask(node, outlet, **given)

    def _wires(self, number: int, name: str) -> dict[str, list[Target]]:
        wires: dict[str, list[Target]] = {}
        for wire in self.graph.wires:
            if wire.source == name:
                wires.setdefault(wire.port, []).append(self._target(number, wire.target))
        return wires

    def _target(self, producer: int, target: str) -> Target:
        channel = self.channels.get((producer, target))
        if channel is None:
            return self.steps[target].inbox
        if (producer, target) not in self._edges:
            self._edges[producer, target] = self.ends[producer].add(channel)
        return self._edges[producer, target]

    def _inbox(self, nodes: Sequence[str]) -> Inbox:
        inputs: dict[str, list[Channel]] = {}
        for (_, target), channel in self.channels.items():
            if target in nodes:
                inputs.setdefault(target, []).append(channel)
        return Inbox(inputs)
