"""One running flow: journal and store opened, parts assembled and restored, tasks in one group, drained at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from flowrunner.clock import NEVER, Clock
from flowrunner.context import Context, Logger
from flowrunner.counters import Counters
from flowrunner.errors import FlowrunnerError
from flowrunner.graph.build import Graph
from flowrunner.graph.diff import Plan
from flowrunner.message import Message
from flowrunner.metrics import Histogram
from flowrunner.runtime.assemble import Assembly, Callbacks, Former, StageTask
from flowrunner.runtime.channel import Marker
from flowrunner.runtime.checkpoints.checkpoint import Checkpointer
from flowrunner.runtime.checkpoints.restore import keep_refused, restore, tell_damage
from flowrunner.runtime.journal import Entry
from flowrunner.runtime.ledger import Ledger, ledger
from flowrunner.runtime.letters.letter import REPLAYED, DeadLetter
from flowrunner.runtime.letters.replays import Replays
from flowrunner.runtime.pump import Pump
from flowrunner.runtime.reload.swap import CrashedError, Swap
from flowrunner.runtime.secrecy import Secrecy
from flowrunner.runtime.sources import run_connection
from flowrunner.runtime.storage import FlowSettings, Storage
from flowrunner.runtime.tasks import Tasks


class FlowStoppedError(FlowrunnerError):
    """A message failed at a node with ``on_error: stop``; the flow stays where it is until it is changed."""


class Swapped(msgspec.Struct, frozen=True):
    """What going over to another version of a flow did."""

    plan: Plan
    pause: float
    """Seconds in which the flow took no step."""
    in_place: bool = True
    """Whether parts went on: not for a flow that did not run, or that changed its delivery."""


class FlowRunner:
    """Runs one version of one flow."""

    def __init__(
        self, graph: Graph, storage: Storage, settings: FlowSettings, clock: Clock, log: Logger
    ) -> None:
        self.graph = graph
        self.latency = Histogram()
        """Seconds from a message's arrival to the acknowledgement of the sink."""
        self.ready = asyncio.Event()
        self._settings = settings
        self._clock = clock
        self._log = log
        self._stop = asyncio.Event()
        self._secrecy = Secrecy(graph)
        self._drain_seconds, self._drain_backlog = 0.0, True
        self._tasks: Tasks | None = None
        self._swapping = asyncio.Lock()
        self.last_pause = 0.0
        """Seconds in which the flow took no step while it went over to its present version."""
        self.turning = 0
        """The number of the marker behind which stages end: their nodes go on in those of another version."""
        self.retired = Counters()
        """What happened at nodes that are no longer part of the flow."""
        self._storage = storage
        self.journal, self.store = storage.journal, storage.store
        self._callbacks = Callbacks(
            on_failure=self._failed,
            on_marker=lambda name, marker: self.checkpointer.sink_passed(name, marker),
            on_written=self._written,
            on_finished=lambda: self.pump.wake(),
        )
        self.assembly = self.assemble(graph)
        self.assembly.trace(storage.traces)
        self.pump = Pump(
            self.journal,
            storage.clock,
            self.assembly.sources,
            self.assembly.outlets,
            self.assembly.pumped,
            self.assembly.ends[0],
            next_due=self._next_due,
            on_marker=lambda marker: self.checkpointer.pump_passed(marker),
            on_orphans=self._orphaned,
            room=lambda: self.checkpointer.room(),
            on_lost=self._lost,
            on_replays=lambda entries: self.replays.deliver(entries),
        )
        self.checkpointer = Checkpointer(
            self.assembly, self.pump, self.journal, self.store, clock, log, self.retired
        )
        self.replays = Replays(
            self.assembly, self.pump, self.store, self.retired, log, self.checkpointer.add_dead_letter
        )

    @property
    def ledger(self) -> Ledger:
        """The books of the flow, now."""
        return ledger(self.assembly, self.pump, self.retired)

    @property
    def finished(self) -> bool:
        """Whether all sources have ended, well or for good, and everything that came in has been processed."""
        return (
            all(
                source.finished or source.context.status == "failed"
                for source in self.assembly.sources.values()
            )
            and self.replays.idle
            and self.pump.caught_up
            and self.ledger.held == 0
        )

    async def run(self) -> None:
        """Run until :meth:`stop`; raises what a node type raised where it must not."""
        await self._resume()
        try:
            async with asyncio.TaskGroup() as group:
                self._tasks = tasks = Tasks(group)
                self._start(tasks)
                await self._stop.wait()
                async with self._swapping:
                    await self._drain(tasks)
                    tasks.cancel_all()
                    self._tasks = None
        finally:
            self._tasks = None

    async def replace(self, graph: Graph, *, strict: bool = False) -> Swapped:
        """Go over to another version of the flow while it runs; return what that did.

        Raises :class:`CrashedError` when the flow does not run, or crashes meanwhile, and what the construction of a
        node or :class:`SwapError` say when there is no going over: the flow has then not noticed.
        """
        async with self._swapping:
            tasks = self._tasks
            if tasks is None or tasks.failed:
                raise CrashedError("the flow does not run")
            await tasks.ended("exchange")
            swap = Swap(self, tasks, graph, strict=strict)
            await swap.run()
            self.last_pause = swap.pause
            return Swapped(swap.plan, swap.pause)

    def assemble(self, graph: Graph, former: Former | None = None) -> Assembly:
        """Construct the parts of a version of the flow."""
        return Assembly(
            graph,
            self.journal,
            self._clock,
            self._log,
            self._settings.instance,
            self._callbacks,
            taps=self._storage.taps,
            outboxes=self._storage.outboxes,
            former=former,
        )

    def rewire(self, parts: Assembly) -> None:
        """Go on with other parts; the pump stands between two steps."""
        careful = max(stage.careful_until for stage in self.assembly.all_stages)
        self.assembly, self.graph, self._secrecy = parts, parts.graph, Secrecy(parts.graph)
        self.be_careful(careful)
        parts.trace(self._storage.traces)
        self.pump.rewire(parts.sources, parts.outlets, parts.pumped, parts.ends[0])
        self.checkpointer.rewire(parts)
        self.replays.rewire(parts)

    def start_pump(self, tasks: Tasks, *, stages: bool = True, checkpoint: bool = False) -> None:
        """Start what moves messages, and with ``checkpoint`` begin with one."""
        for stage in self.assembly.stages if stages else ():
            tasks.start(self._run_stage(stage), f"stage {stage.name}")
        tasks.start(self.pump.run(), "pump")
        tasks.start(self.checkpointer.run(self._settings.checkpoint_every, now=checkpoint), "checkpoints")

    def stop(self, drain: float, *, backlog: bool = True) -> None:
        """Ask the flow to end: sources first, then what is under way, for at most ``drain`` seconds.

        Without ``backlog`` what is still unread in the journal is left to the next version.
        """
        self._drain_seconds = drain
        self._drain_backlog = backlog
        self._stop.set()

    async def _resume(self) -> None:
        """Begin where the last checkpoint ended."""
        checkpoint = await self.store.load()
        tell_damage(self._storage, checkpoint, self.graph.name, self._log)
        if checkpoint is None:
            self.pump.position = max(0, self.journal.first - 1)
        else:
            if await restore(checkpoint, self.assembly, self.pump, self.retired, self._log):
                await keep_refused(self.store, self.graph.name, self._log)
            self._storage.clock.at_least(checkpoint.clock)
            self.journal.tick(checkpoint.clock)
            self.journal.release(checkpoint.position)
        self.pump.recovered = self.journal.end + self.journal.pending
        self.journal.on_commit = self.pump.wake

    def be_careful(self, until: int) -> None:
        """Take messages one by one up to a journal position, since one of them has crashed a node."""
        for stage in self.assembly.all_stages:
            stage.careful_until = until

    def _start(self, tasks: Tasks) -> None:
        parts = self.assembly
        for connection in parts.connections.values():
            tasks.start(run_connection(connection), f"connection {connection.context.name}")
        for name, sink in parts.sinks.items():
            tasks.start(sink.run(), f"sink {name}")
        self.start_pump(tasks)
        tasks.start(self.checkpointer.save_dead_letters(), "dead letters")
        for name, source in parts.sources.items():
            tasks.start(source.run(), f"source {name}")
        tasks.start(self.replays.run(), f"source {REPLAYED}")
        for step in parts.steps.values():
            step.outlet.context.report("running", step.outlet.context.reason)
        self.ready.set()

    async def _drain(self, tasks: Tasks) -> None:
        """Bring what came in to its end and commit that, as far as the time allows."""
        try:
            async with asyncio.timeout(self._drain_seconds):
                await tasks.cancel(*tasks.named("source "))
                if self._drain_backlog:
                    await self.pump.drain()
                await tasks.ended("exchange")
                await tasks.cancel("checkpoints", "dead letters")
                await self.checkpointer.take()
        except TimeoutError:
            self._log.warning(
                "stopped before everything was written; the journal keeps it",
                flow=self.graph.name,
                held=self.ledger.held,
            )

    async def _run_stage(self, stage: StageTask) -> None:
        await stage.ends.room()
        while True:
            taken = await stage.inbox.take()
            if isinstance(taken, Marker) and taken.checkpoint == self.turning:
                stage.ends.mark(taken, stages_only=True)
                return
            if isinstance(taken, Marker):
                await self.checkpointer.stage_passed(stage, taken)
                stage.ends.mark(taken)
                continue
            batches, step, clock = taken
            for name, batch in batches.items():
                self.assembly.steps[name].inbox.lists.append(batch)
            await stage.stage.advance(clock)
            stage.ends.flush(step, clock)
            self.pump.wake()
            await stage.ends.room()

    def _next_due(self) -> int:
        return min((step.timers.due for step in self.assembly.steps.values()), default=NEVER)

    def _orphaned(self, entries: Sequence[Entry]) -> None:
        self.retired.received += len(entries)
        self.retired.drop("source_removed", len(entries))

    def _lost(self, count: int) -> None:
        """Account for records that were committed and are gone with a damaged file; whose they were nobody knows."""
        self.retired.received += count
        self.retired.drop("journal_damaged", count)
        self._log.error("records are lost with a damaged journal file", flow=self.graph.name, records=count)

    def _written(self, messages: Sequence[Message]) -> None:
        if any(source.node.drives_clock for source in self.assembly.sources.values()):
            return  # the arrival is that of the past that is being replayed
        now = self._clock.now()
        for message in messages:
            self.latency.observe((now - message.clock) / 1e9)

    def _failed(self, context: Context, message: Message, reason: str) -> Message | None:
        """Decide where a failed message goes: the port ``errors``, or as ``on_error`` says."""
        reason = self._secrecy.mask(reason)
        if "errors" in context.wired:
            return message.replace(meta={**message.meta, "error": reason, "error_node": context.node})
        node = self.graph.nodes.get(context.node)
        policy = node.config.on_error if node is not None else "dead_letter"
        if policy == "stop":
            raise FlowStoppedError(
                f"node `{context.node}` has `on_error: stop` and a message failed: {reason}"
            )
        if policy == "drop":
            context.counters.drop("error")
            return None
        context.counters.dead_lettered += 1
        self._log.warning("message dead-lettered", flow=self.graph.name, node=context.node, reason=reason)
        self.checkpointer.add_dead_letter(DeadLetter.of(message, context.node, reason, self._clock.now()))
        return None
