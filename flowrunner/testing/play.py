"""Play one test: the real engine in virtual time, from its first step to its books."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from flowrunner.counters import Counters
from flowrunner.graph.build import Graph
from flowrunner.message import NANOSECONDS, Record
from flowrunner.runtime.storage import FlowSettings, Storage
from flowrunner.runtime.supervisor import Flow
from flowrunner.testing.model import CrashStep, FlowTest, MessageStep, ReloadStep
from flowrunner.testing.schedule import Event, Refusal, Schedule
from flowrunner.testing.stand_in import Seen, Witness, stand_in
from flowrunner.testing.virtual import VirtualClock, run_virtual

CHECKPOINT_EVERY = 10.0
"""Seconds between two checkpoints in a test with a crash, as ``flowrunner run`` has by default."""
SELDOM = 21_600.0
"""The same in a test without one, where only the journal's size depends on it."""
GRACE = 2.0
"""Seconds after the end in which sinks may write what has reached them."""


class Played(msgspec.Struct, frozen=True):
    """What came of a test; times are nanoseconds from its start."""

    seen: dict[str, list[Seen]]
    """What came to each place that the test names, in order."""
    end: int
    counters: dict[str, Counters]
    """What happened at each node of the flow's last version."""
    refusals: list[Refusal]
    problems: list[str]
    """What must not happen in any test: crashes, dead letters, books that do not balance."""


class TestLog:
    """The log of a flow under test: keeps what went wrong."""

    __test__ = False

    def __init__(self) -> None:
        self.problems: list[str] = []

    def debug(self, event: str, **facts: Any) -> None:
        """Forget it."""

    def info(self, event: str, **facts: Any) -> None:
        """Forget it."""

    def warning(self, event: str, **facts: Any) -> None:
        """Keep dead letters, each once: a replay makes the same again."""
        if event == "message dead-lettered":
            node = facts["node"]
            help = f"expect it: `- {{ node: {node}.errors, count: 1 }}`"
            self._keep(f"a message was dead-lettered at `{node}`: {facts['reason']}\n  = help: {help}")

    def error(self, event: str, **facts: Any) -> None:
        """Keep the event and the last line of its traceback."""
        reason = str(facts.get("error", "")).strip().rpartition("\n")[2]
        self._keep(f"{event}{f' at `{facts["node"]}`' if 'node' in facts else ''}: {reason}")

    def _keep(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


class KeptStorage(Storage):
    """The journal and store of a flow under test: what a disk is to a real one, they outlive a crash."""

    _open = False

    async def open(self) -> None:
        """Open, the first time."""
        if not self._open:
            self._open = True
            await super().open()

    async def close(self) -> None:
        """Stay open: the flow may be started again."""

    async def discard(self) -> None:
        """Close for good."""
        await super().close()


def play(test: FlowTest, plan: Schedule, graph: Graph, versions: Mapping[str, Graph]) -> Played:
    """Run a test; ``versions`` are the flows that it goes over to, as it names them."""
    places = list(dict.fromkeys(expectation.node for expectation in test.expect))
    witness = Witness(test.start, plan.refusals)
    flows = {
        name: stand_in(msgspec.structs.replace(version, name=graph.name, delivery="memory"), witness, places)
        for name, version in {"": graph, **versions}.items()
    }
    player = play_events(test.start, flows, plan, keeps=graph.delivery == "journal")
    seen = {place: witness.seen(place, plan.end) for place in places}
    runner = player.flow.runner
    counters = {id: runner.assembly.contexts[id].counters for id in runner.graph.nodes if " " not in id}
    return Played(seen, plan.end, counters, plan.refusals, player.problems())


def play_events(start: int, flows: Mapping[str, Graph], plan: Schedule, *, keeps: bool = True) -> Player:
    """Let a schedule happen to a flow with stand-ins, under ``""``, and to the versions that it goes over to.

    ``start`` is in nanoseconds since the epoch; ``keeps``: whether the journal outlives a crash.
    """
    return run_virtual(_play(start, flows, plan, keeps=keeps))


async def _play(start: int, flows: Mapping[str, Graph], plan: Schedule, *, keeps: bool) -> Player:
    crashes = any(isinstance(event.action, CrashStep) for event in plan.events)
    player = Player(start, flows, keeps=keeps, every=CHECKPOINT_EVERY if crashes else SELDOM)
    await player.play(plan.events, plan.end)
    return player


class Player:
    """Runs a flow and lets the steps of a test happen to it."""

    def __init__(self, start: int, flows: Mapping[str, Graph], *, keeps: bool, every: float) -> None:
        self._start = start
        self._flows = flows
        self._keeps = keeps
        self._clock = VirtualClock(start)
        self._log = TestLog()
        self._settings = FlowSettings(state_dir=Path(), checkpoint_every=every)
        self._storage = self._new_storage()
        self.flow = self._new_flow(flows[""])
        self._task: asyncio.Task[None] | None = None

    async def play(self, events: Sequence[Event], end: int) -> None:
        """Let everything happen, then bring what has reached the sinks to its end."""
        await self._launch()
        for event in events:
            await self._until(event.at)
            await self._do(event)
        await self._until(end)
        self.flow.stop(GRACE)
        if self._task is not None:
            await self._task
        await self._storage.discard()

    def problems(self) -> list[str]:
        """Return what must not happen in any test."""
        problems = list(self._log.problems)
        if self.flow.reason is not None and not problems:
            problems.append(self.flow.reason)
        runner = self.flow.runner
        books = {id: step.counters.balance() for id, step in runner.assembly.steps.items()}
        books |= {id: runner.assembly.contexts[id].counters.balance() for id in runner.assembly.sinks}
        books["the whole flow"] = runner.ledger.balance
        if not problems:
            problems = [
                f"the books do not balance, messages of {name}: {left:+}"
                for name, left in books.items()
                if left
            ]
        return problems

    async def _until(self, at: int) -> None:
        moment = self._start + at
        while (now := self._clock.now()) < moment:  # noqa: ASYNC110  # time itself is waited for
            await asyncio.sleep((moment - now) / NANOSECONDS)

    async def _do(self, event: Event) -> None:
        match event.action:
            case MessageStep():
                await self._arrive(event.action, self._start + event.at)
            case ReloadStep():
                await self.flow.replace(self._flows[event.action.reload])
            case CrashStep():
                await self._crash()

    async def _arrive(self, step: MessageStep, now: int) -> None:
        time = now if step.time is None else step.time
        record = Record(msgspec.json.encode(step.payload), step.topic, time, step.meta, clock=now)
        await self.flow.runner.assembly.sources[step.node].context.emit_records([record])

    async def _launch(self) -> None:
        self._task = asyncio.create_task(self.flow.run())
        await self.flow.runner.ready.wait()

    async def _crash(self) -> None:
        """Kill the flow and start it again from what is safe."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if not self._keeps:
            await self._storage.discard()
            self._storage = self._new_storage()
        self.flow = self._new_flow(self.flow.graph)
        await self._launch()

    def _new_storage(self) -> KeptStorage:
        return KeptStorage(self._flows[""].name, "memory", self._settings, self._clock)

    def _new_flow(self, graph: Graph) -> Flow:
        return Flow(graph, self._settings, self._clock, self._log, self._storage)
