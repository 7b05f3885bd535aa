"""All flows of a process: each in a task of its own that is started anew when it crashes, so none disturbs another."""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

from flowrunner.clock import Clock
from flowrunner.context import Logger, Status
from flowrunner.graph.build import Graph
from flowrunner.graph.diff import diff
from flowrunner.runtime.backoff import Backoff
from flowrunner.runtime.flow import FlowRunner, FlowStoppedError, Swapped
from flowrunner.runtime.reload.swap import CrashedError
from flowrunner.runtime.stage import AHEAD, NodeCrashError
from flowrunner.runtime.storage import FlowSettings, Storage

_PAUSE = 20.0
"""Seconds between two starts of a flow at the most: it is back soon when what ailed it, such as a disk, has passed."""

REMOVAL_DRAIN = 5.0
"""Seconds that the sinks of a removed flow have: other changes wait for it, and its journal keeps the rest."""


class Flow:
    """One flow over all its versions: what is running, what it said last, and what outlives a version."""

    def __init__(
        self,
        graph: Graph,
        settings: FlowSettings,
        clock: Clock,
        log: Logger,
        storage: Storage | None = None,
    ) -> None:
        """``storage`` is where to go on, as after a crash; by default that of the flow's name."""
        self.graph = graph
        self.storage = storage or Storage(graph.name, graph.delivery, settings, clock, log)
        self.runner = FlowRunner(graph, self.storage, settings, clock, log)
        self.status: Status = "starting"
        self.reason: str | None = None
        self.generation = 1
        self.restarts = 0
        self.since = clock.now()
        """When the running version was started, nanoseconds since the epoch."""
        self._settings = settings
        self._clock = clock
        self._log = log
        self._next: FlowRunner | None = None
        self._stopping = False
        self._changed = asyncio.Event()
        self._backoff = Backoff(cap=_PAUSE)
        self._careful_until = 0

    async def run(self) -> None:
        """Run the flow until :meth:`stop`; come back from crashes, and change versions when asked."""
        try:
            await self._open()
            while not self._stopping:
                await self._run_version()
                await self._renew()
        finally:
            await self._close()
            self.status = "stopped"

    async def replace(self, graph: Graph, *, strict: bool = False) -> Swapped:
        """Go over to another version and return what that did.

        Raises what the construction of a node or :class:`SwapError` say: the present version has then not noticed.
        One that does not run, as it has crashed, is followed by a new one that begins at the last checkpoint.
        """
        plan = diff(self.graph, graph)
        try:
            swapped = await self.runner.replace(graph, strict=strict)
        except CrashedError:
            self._next = FlowRunner(graph, self.storage, self._settings, self._clock, self._log)
            self._changed.set()
            self.runner.stop(0.0, backlog=False)
            return Swapped(plan, 0.0, in_place=False)
        self._take_up(graph)
        return swapped

    def stop(self, drain: float) -> None:
        """End the flow: drain what is under way for at most ``drain`` seconds, and commit it."""
        self._stopping = True
        self._changed.set()
        self.runner.stop(drain)

    async def _open(self) -> None:
        while not self._stopping:
            try:
                await self.storage.open()
                return
            except Exception as error:
                self._report("failed", f"the state directory cannot be used: {error}")
                self._log.error("flow cannot be opened", flow=self.graph.name, error=str(error))
                await self._pause(self._backoff.next())

    async def _close(self) -> None:
        """Close the files; what goes wrong with that must not end the other flows."""
        try:
            await self.storage.close()
        except Exception as error:
            self._log.error("flow did not close its files", flow=self.graph.name, error=str(error))

    async def _run_version(self) -> None:
        """Run the present version to its end, whatever that is."""
        runner = self.runner
        runner.be_careful(self._careful_until)
        self._report("running")
        pause = 0.0
        try:
            await runner.run()
        except* FlowStoppedError as group:
            self._report("failed", str(_first(group)))
            pause = float("inf")
        except* Exception as group:
            error = _first(group)
            if not _is_being_cancelled():
                pause = self._crashed(error)
            self._report("degraded", f"{error}; starting again from the last checkpoint")
        if _is_being_cancelled():
            raise asyncio.CancelledError  # a task that failed while it was being ended has taken its place
        if pause and not self._stopping and self._next is None:
            await self._pause(pause)

    async def _renew(self) -> None:
        """Put the next version, or the same one anew, in the place of the one that has ended."""
        while self._next is None and not self._stopping:
            try:
                self.runner = FlowRunner(self.graph, self.storage, self._settings, self._clock, self._log)
                return
            except Exception as error:
                self._report("degraded", f"cannot be built: {type(error).__name__}: {error}")
                await self._pause(self._crashed(error))
        if self._next is not None:
            self._take_next(self._next)

    def _take_next(self, runner: FlowRunner) -> None:
        self.runner, self._next = runner, None
        self._take_up(runner.graph)

    def _take_up(self, graph: Graph) -> None:
        self.graph = graph
        self.generation += 1
        self.since = self._clock.now()
        self._careful_until = 0

    async def _pause(self, seconds: float) -> None:
        """Wait before the next start; a new version or the end of the process cuts it short."""
        timeout = None if seconds == float("inf") else seconds
        self._changed.clear()
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            return

    def _crashed(self, error: BaseException) -> float:
        """Log a crash, learn up to which record to be careful, and return the seconds to wait."""
        self.restarts += 1
        trace = "".join(traceback.format_exception(error))
        self._log.error("flow crashed", flow=self.graph.name, error=trace)
        if not (isinstance(error, NodeCrashError) and error.positions):
            return self._backoff.next()
        self._careful_until = max(self._careful_until, error.positions[-1] + AHEAD)
        return 0.01

    def _report(self, status: Status, reason: str | None = None) -> None:
        self.status, self.reason = status, reason


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class Supervisor:
    """Starts, replaces and stops the flows of a process."""

    def __init__(self, settings: FlowSettings, clock: Clock, log: Logger) -> None:
        self.flows: dict[str, Flow] = {}
        self.refused: dict[str, str] = {}
        """Flows that could not be built, and why."""
        self.settings = settings
        self.clock = clock
        self._log = log
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._stopped = asyncio.Event()

    async def run(self, graphs: Mapping[str, Graph], on_started: Callable[[], None] = lambda: None) -> None:
        """Run flows until :meth:`stop`."""
        async with asyncio.TaskGroup() as self._group:
            for graph in graphs.values():
                self._try_to_add(graph)
            on_started()
            await self._stopped.wait()

    def add(self, graph: Graph) -> None:
        """Start a flow; raises when it cannot be built."""
        self._launch(self._build(graph))

    def _try_to_add(self, graph: Graph) -> None:
        try:
            self.add(graph)
        except Exception:
            self._log.error("flow cannot be built", flow=graph.name, error=traceback.format_exc())

    def _build(self, graph: Graph) -> Flow:
        try:
            flow = Flow(graph, self.settings, self.clock, self._log)
        except Exception as error:
            self.refused[graph.name] = f"cannot be built: {type(error).__name__}: {error}"
            raise
        self.refused.pop(graph.name, None)
        return flow

    def _launch(self, flow: Flow) -> None:
        if self._group is None:
            raise RuntimeError("the supervisor is not running")
        graph = flow.graph
        self.flows[graph.name] = flow
        self._tasks[graph.name] = self._group.create_task(flow.run(), name=f"flow {graph.name}")
        self._log.info("flow started", flow=graph.name, nodes=len(graph.nodes))

    async def replace(self, graph: Graph, *, strict: bool = False) -> Swapped:
        """Go over to another version of a running flow; raises when that fails, and it runs on as it was."""
        running = self.flows[graph.name]
        if running.storage.delivery == graph.delivery:
            swapped = await running.replace(graph, strict=strict)
        else:
            flow = self._build(graph)
            await self.remove(graph.name)
            self._launch(flow)
            flow.generation = running.generation + 1
            swapped = Swapped(diff(running.graph, graph), 0.0, in_place=False)
        outcomes = Counter(change.outcome for change in swapped.plan.nodes)
        self._log.info(
            "flow replaced", flow=graph.name, pause_ms=round(swapped.pause * 1000, 1), nodes=dict(outcomes)
        )
        return swapped

    def moved(self, name: str, file: str) -> None:
        """Note that a flow stands in another file now, and is otherwise as it was."""
        flow = self.flows[name]
        flow.graph = msgspec.structs.replace(flow.graph, file=file)

    async def remove(self, name: str, drain: float = REMOVAL_DRAIN) -> None:
        """Drain and stop one flow; what is left stays in its journal, for when the flow comes back."""
        self.flows[name].stop(drain)
        await asyncio.wait({self._tasks[name]})
        del self._tasks[name], self.flows[name]
        self._log.info("flow removed", flow=name)

    async def stop(self, drain: float) -> None:
        """Drain and stop all flows; what does not end within ``drain`` seconds is cancelled."""
        for flow in self.flows.values():
            flow.stop(drain)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks.values(), timeout=drain + 2)
            for task in late:
                task.cancel()
        self._stopped.set()

    def hurry(self) -> None:
        """End all flows now; what is under way stays in the journal."""
        for task in self._tasks.values():
            task.cancel()
