"""Going over from the running version of a flow to another, or not at all.

1. The new version is constructed beside the running one, with the parts of it that go on; new sinks are opened.
2. Sources that end are ended, those in their place opened: the others go on, and so does the flow.
3. The pump halts between two steps, and a marker brings the stages to the same step.
4. States are handed over; from here on nothing can fail. The new parts are wired up, and the pump goes on.

Whatever goes wrong before the end of 3 is undone; the journal has kept what came in meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from flowrunner.errors import FlowrunnerError
from flowrunner.graph.build import Graph
from flowrunner.graph.diff import Plan, diff
from flowrunner.message import Message
from flowrunner.runtime.assemble import Assembly, Former
from flowrunner.runtime.channel import END, Marker
from flowrunner.runtime.checkpoints.books import dump_counters, retire
from flowrunner.runtime.checkpoints.state import dump_state, load_state
from flowrunner.runtime.ledger import kept_out
from flowrunner.runtime.reload.exchange import Gone, exchange
from flowrunner.runtime.reload.prepare import Preparation, SwapError
from flowrunner.runtime.tasks import Tasks

if TYPE_CHECKING:
    from flowrunner.runtime.flow import FlowRunner


class CrashedError(FlowrunnerError):
    """The running version crashed by itself while another was about to take its place."""


class Swap:
    """One attempt to go over to another version."""

    def __init__(self, runner: FlowRunner, tasks: Tasks, graph: Graph, *, strict: bool) -> None:
        self.plan: Plan = diff(runner.graph, graph)
        self.pause = 0.0
        """Seconds in which the flow took no step."""
        self._runner = runner
        self._tasks = tasks
        self._strict = strict
        self._old = runner.assembly
        self._outcomes = {change.name: change.outcome for change in self.plan.nodes}
        self._links = {change.name: change.outcome for change in self.plan.connections}
        self._new: Assembly = runner.assemble(graph, self._former())
        self._draining = False
        self._prepared = Preparation(
            self._old, self._new, self._links, (runner.journal, runner.pump), tasks, strict=strict
        )

    def _former(self) -> Former:
        kept = frozenset(name for name, outcome in self._links.items() if outcome == "keep")
        return Former(self._old, self.plan.kept(), kept)

    async def run(self) -> None:
        """Go over to the new version; raises when that fails, and the flow is then as it was."""
        try:
            await self._prepared.open_sinks()
            await self._prepared.exchange_sources()
            if self._strict:
                await self._prepared.connect()
            await self._turn()
        except BaseException:
            await self._prepared.roll_back()
            raise

    async def _turn(self) -> None:
        """Bring the flow to a halt and go over; undone, it goes on."""
        runner, tasks = self._runner, self._tasks
        self._prepared.undo.append(self._go_on)
        await self._halt()
        began = time.perf_counter()
        await tasks.cancel("pump", "checkpoints")
        marker = Marker(runner.checkpointer.give_up(), runner.pump.step, runner.pump.clock)
        await self._drain_stages(marker)
        for change in self.plan.nodes:
            if change.outcome == "state_kept":
                await self._hand_over_state(change.name)
        self._check_alive()
        self._go_over(marker)
        self.pause = time.perf_counter() - began

    async def _halt(self) -> None:
        """Return when the pump stands between two steps."""
        halt = asyncio.create_task(self._runner.pump.halt())
        await asyncio.wait({halt, self._tasks["pump"]}, return_when=asyncio.FIRST_COMPLETED)
        halt.cancel()
        self._check_alive()

    def _check_alive(self) -> None:
        if self._tasks.failed:
            raise CrashedError("the running version crashed")

    async def _drain_stages(self, marker: Marker) -> None:
        """Let the stages process what is in their channels; the sinks' channels take more than they should."""
        if not self._old.stages:
            return
        self._draining = True
        for channel in self._old.channels.values():
            channel.widen(wide=True)
        self._runner.turning = marker.checkpoint
        self._old.ends[0].mark(marker, stages_only=True)
        for sink in self._old.sinks.values():
            sink.turn(marker)
        await self._stages_ended()

    async def _stages_ended(self) -> None:
        await self._tasks.ended(*(f"stage {stage.name}" for stage in self._old.stages))

    async def _go_on(self) -> None:
        """Start again what has been halted, wherever that was interrupted."""
        if self._tasks.failed:
            return
        if self._tasks.runs("pump"):
            await self._halt()
            await self._tasks.cancel("pump", "checkpoints")
        if self._draining:
            await self._stages_ended()
            self._check_alive()
        for channel in self._old.channels.values():
            channel.widen(wide=False)
        self._runner.start_pump(self._tasks, stages=self._draining)

    async def _hand_over_state(self, name: str) -> None:
        old, new = self._old.steps[name], self._new.steps[name]
        try:
            state = await dump_state(old.node, old.timers)
            await load_state(new.node, new.timers, state, old.node.state_version)
        except Exception as error:
            raise SwapError(
                f"node `{name}` does not take up its state: {type(error).__name__}: {error}"
            ) from error

    def _go_over(self, marker: Marker) -> None:
        """Put the new parts in the place of the old; nothing in here waits or fails."""
        old, new = self._old, self._new
        at = (marker.step, marker.clock)
        gone = self._gone()
        for ends in old.ends:
            ends.flush(*at)  # sinks have gone on meanwhile, and some messages failed there
        for ends in new.ends:
            ends.since = marker.checkpoint
        for inbox in new.inboxes:
            inbox.begin(marker.step)
        for name, wiring in new.kept_sinks.items():
            wiring.inbox.take_over(old.sinks[name].inbox, *at)
            new.sinks[name].rewire(wiring.outlet, wiring.inbox, wiring.ends)
        for name, sink in gone.replaced.items():
            new.sinks[name].inbox.take_over(sink.inbox, *at)
            sink.outlet.wires, sink.outlet.context.wired = new.outlets[name].wires, new.wired(name)
        for name in new.graph.nodes:
            new.contexts[name].wired = new.wired(name)
        new.leaving = [*old.leaving, *gone.removed.values()]
        for sink in gone.removed.values():
            sink.outlet.context.wired = frozenset()
            sink.inbox.mark(Marker(END, *at))
        self._settle_books()
        self._carry_over(at)
        self._runner.rewire(new)
        self._start(gone)

    def _carry_over(self, at: tuple[int, int]) -> None:
        """Take along what sinks have sent to stages since these came to their end."""
        left: dict[str, list[Message]] = {}
        for stage in self._old.stages:
            left |= stage.inbox.take_all()
        for stage in self._new.stages:
            nodes = [step.outlet.context.node for step in stage.stage.steps]
            stage.inbox.put_first({node: left.pop(node, []) for node in nodes}, *at)
        if lost := sum(map(len, left.values())):
            self._runner.retired.drop("reload", lost)

    def _gone(self) -> Gone:
        """Return what ends with the old version, and what begins in its place."""
        old, new = self._old, self._new
        sinks = {name: sink for name, sink in old.sinks.items() if new.sinks.get(name) is not sink}
        ends = tuple(name for name, outcome in self._links.items() if outcome in ("restart", "removed"))
        begins = tuple(name for name, outcome in self._links.items() if outcome in ("restart", "added"))
        if self._strict:
            # Those that begin are up already, and those in whose place they are have ended.
            ends, begins = tuple(name for name in ends if name not in begins), ()
        return Gone(
            replaced={name: sink for name, sink in sinks.items() if name in new.sinks},
            removed={name: sink for name, sink in sinks.items() if name not in new.sinks},
            connections=ends,
            begun=begins,
        )

    def _settle_books(self) -> None:
        """Account for what ends with the old version; the counters of the others go on by themselves."""
        runner, old, new = self._runner, self._old, self._new
        for name, outcome in self._outcomes.items():
            counters = old.contexts[name].counters if name in old.contexts else None
            if counters is None or outcome in ("keep", "added"):
                continue
            if name in new.contexts and new.contexts[name].counters is counters:
                if outcome == "state_lost" and counters.held:
                    counters.drop("reload", counters.held)
                    counters.held = 0
                continue
            if name in old.sinks:
                continue  # it has not left yet
            values = dump_counters(counters)
            if name in old.sources:
                values["source"] = runner.pump.pumped.pop(name, 0)
                values["received"] = values["source"] + kept_out(counters)
            retire(runner.retired, values)

    def _start(self, gone: Gone) -> None:
        """Start the tasks of the new version."""
        runner, tasks, new = self._runner, self._tasks, self._new
        for name, sink in new.sinks.items():
            if name not in new.kept_sinks and name not in gone.replaced:
                tasks.start(sink.run(), f"sink {name}")
        runner.start_pump(tasks, checkpoint=True)
        for name, source in new.sources.items():
            if self._old.sources.get(name) is not source:
                tasks.start(source.run(), f"source {name}")
        for name, connection in self._old.connections.items():
            if new.connections.get(name) is connection:
                for node in self._old.graph.nodes.keys() - new.graph.nodes.keys():
                    connection.forget(node)
        for step in new.steps.values():
            step.outlet.context.report("running", step.outlet.context.reason)
        tasks.start(exchange(gone, new, tasks, runner.retired), "exchange")
