"""Keep the running flows equal to the valid flows in the files: each file for itself, and each flow as a transaction.

A file with a mistake leaves its flow as it is, and all others are not touched.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from flowrunner.config.snapshot import Snapshot, read_file
from flowrunner.context import Logger
from flowrunner.diagnostics import Diagnostic
from flowrunner.graph.build import Graph
from flowrunner.graph.diff import Plan
from flowrunner.graph.load import Loaded, load_flows
from flowrunner.graph.revision import Revision, refusals, revision
from flowrunner.graph.rollout import FlowPlan, roll_out
from flowrunner.options import named_files
from flowrunner.runtime.reload.detect import Detector
from flowrunner.runtime.reload.lastgood import LastGood
from flowrunner.runtime.secrecy import Secrecy
from flowrunner.runtime.supervisor import Supervisor

RECENT = 20
"""Reloads that are kept to look at."""

type Result = Literal["applied", "refused", "failed"]
"""``refused``: the file has a mistake. ``failed``: the flow could not go over, and runs on as it was."""


class Reload(msgspec.Struct, frozen=True):
    """What came of one flow or one file in a reload."""

    name: str
    """The flow; of a file with a mistake the place of that."""
    result: Result
    reason: str | None = None
    """Why it was not applied; else what happened to the flow: changed, added or removed."""
    plan: Plan | None = None


class Reloader:
    """Takes up what has changed in the files."""

    def __init__(
        self,
        paths: Sequence[Path],
        environment: Mapping[str, str],
        supervisor: Supervisor,
        log: Logger,
        *,
        strict: bool = False,
        record: Callable[[Revision], None] = lambda _: None,
    ) -> None:
        """With ``strict`` a flow goes over to a version only when its connections are up and its sinks open.

        ``record`` is told what became of each version of a flow.
        """
        self.diagnostics: list[Diagnostic] = []
        """What is wrong with the files now."""
        self.recent: deque[tuple[int, Reload]] = deque(maxlen=RECENT)
        """The newest reloads and when they were, nanoseconds since the epoch; the newest last."""
        self.failures: dict[str, str] = {}
        """Flows that could not go over to what is in their files, and why."""
        self.results: dict[Result, int] = {"applied": 0, "refused": 0, "failed": 0}
        """Reloads by result."""
        self.last_good: frozenset[str] = frozenset()
        """Flows that run as they were before a mistake came into their files, since the process was started so."""
        self._paths = paths
        self._environment = environment
        self._supervisor = supervisor
        self._log = log
        self._strict = strict
        self._record = record
        self._detector = Detector(paths, log)
        self._kept = LastGood(supervisor.settings.state_dir / "last_good", log)
        self._mistakes: list[Reload] = []
        """What is wrong with the files, as it was last told."""
        self._working = asyncio.Lock()
        self._forced = False

    @property
    def watching(self) -> bool:
        """Whether the kernel tells of changes; else they are found by looking."""
        return self._detector.watching

    def start(self) -> Loaded:
        """Read and check the files; in place of those with a mistake take their last good versions.

        The diagnostics of the result are those of the files as they are.
        """
        snapshot = self._detector.read()
        loaded = self._load(snapshot)
        mended = self._kept.mended(snapshot, loaded)
        if mended is None:
            return loaded
        again = load_flows(
            self._paths, environment=self._environment, strict_environment=True, snapshot=mended
        )
        graphs = {**again.graphs, **loaded.graphs}
        self.last_good = frozenset(graphs.keys() - loaded.graphs.keys())
        for name in sorted(self.last_good):
            self._log.error("the last good version of a flow is started", flow=name, file=graphs[name].file)
        return msgspec.structs.replace(loaded, graphs=graphs)

    async def run(self, poll: float) -> None:
        """Look at the files every ``poll`` seconds and when the kernel hints at a change, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._detector.take_hints(poll), name="file hints")
            while True:
                await self._detector.pause(poll)
                forced, self._forced = self._forced, False
                if forced:
                    await self.reload()
                else:
                    await self.check()

    def want(self) -> None:
        """Load the files soon, though they may be the same: a variable may not."""
        self._forced = True
        self._detector.look()

    async def check(self) -> list[Reload]:
        """Take up a change of the files, if there is one and it has settled."""
        async with self._working:
            snapshot = await self._detector.changed()
            return [] if snapshot is None else await self._take_up(snapshot)

    async def reload(self) -> list[Reload]:
        """Take up the files as they are, when they have settled; return what came of it."""
        async with self._working:
            snapshot = await self._detector.changed(anyway=True)
            done = [] if snapshot is None else await self._take_up(snapshot)
        self._log.info("reload finished", results={one.name: one.result for one in done})
        return done

    async def _take_up(self, snapshot: Snapshot) -> list[Reload]:
        return await self.apply(await asyncio.to_thread(self._load, snapshot))

    def _load(self, snapshot: Snapshot) -> Loaded:
        loaded = load_flows(
            self._paths, environment=self._environment, strict_environment=True, snapshot=snapshot
        )
        self.diagnostics = loaded.diagnostics
        self._detector.named = sorted(_named(loaded.graphs))
        more = {path: read_file(path) for path in self._detector.named if path not in snapshot.named}
        self._detector.take_up(msgspec.structs.replace(snapshot, named={**snapshot.named, **more}))
        self._kept.keep(snapshot, loaded)
        return loaded

    def started(self, loaded: Loaded) -> None:
        """Record what the start of the process made of the files."""
        now = self._supervisor.clock.now()
        for refused in refusals({}, loaded, now):
            self._record(refused)
        for step in roll_out({}, loaded):
            reason = self._supervisor.refused.get(step.flow)
            self._record(revision(step, loaded, "applied" if reason is None else "failed", now, reason))

    async def apply(self, loaded: Loaded) -> list[Reload]:
        """Start, replace and remove flows so that what is valid runs."""
        done = self._refused(loaded)
        running = {name: flow.graph for name, flow in self._supervisor.flows.items()}
        for refused in refusals(running, loaded, self._supervisor.clock.now()):
            self._record(refused)
        for name in self._supervisor.refused.keys() - loaded.graphs.keys():
            del self._supervisor.refused[name]
        steps = roll_out(running, loaded)
        for step in sorted(steps, key=lambda step: step.outcome == "removed"):  # what ends may take its time
            if step.outcome == "unchanged":
                self.failures.pop(step.flow, None)
                self._supervisor.moved(step.flow, step.file)
            elif step.outcome != "refused":
                done.append(self._count(await self._take(step, loaded)))
        self.failures = {name: why for name, why in self.failures.items() if name in loaded.graphs}
        self.last_good -= {step.flow for step in steps if step.outcome != "refused"}
        return done

    def _refused(self, loaded: Loaded) -> list[Reload]:
        """Return the mistakes in the files; those that have been told before are not counted once more."""
        found = [
            Reload(_place(one), "refused", one.message)
            for one in loaded.diagnostics
            if one.severity == "error"
        ]
        for one in found:
            if one not in self._mistakes:
                self._count(one)
        if self._mistakes and not found:
            self._log.info("mistakes in the files are mended")
        self._mistakes = found
        return found

    async def _take(self, step: FlowPlan, loaded: Loaded) -> Reload:
        """Carry out what is planned for one flow, and record what came of it."""
        name, now = step.flow, self._supervisor.clock.now()
        try:
            match step.outcome:
                case "removed":
                    await self._supervisor.remove(name)
                case "added":
                    self._supervisor.add(loaded.graphs[name])
                case _:
                    await self._supervisor.replace(loaded.graphs[name], strict=self._strict)
        except Exception as error:
            self.failures[name] = _reason(error, loaded.graphs.get(name))
            result: Literal["failed", "rolled_back"] = "failed" if step.outcome == "added" else "rolled_back"
            self._record(revision(step, loaded, result, now, self.failures[name]))
            return Reload(name, "failed", self.failures[name])
        self.failures.pop(name, None)
        self._record(revision(step, loaded, "applied", now))
        return Reload(name, "applied", step.outcome, step.plan)

    def _count(self, done: Reload) -> Reload:
        self.results[done.result] += 1
        self.recent.append((self._supervisor.clock.now(), done))
        if done.result != "applied":
            subject = "file" if done.result == "refused" else "flow"
            self._log.error("reload " + done.result, error=done.reason, **{subject: done.name})
        return done


def _place(found: Diagnostic) -> str:
    return f"{found.file}:{found.line}:{found.column}" if found.line else found.file


def _reason(error: Exception, graph: Graph | None) -> str:
    reason = f"{type(error).__name__}: {error}"
    return reason if graph is None else Secrecy(graph).mask(reason)


def _named(graphs: Mapping[str, Graph]) -> set[Path]:
    """Return the files that the options of flows name."""
    options = [part.config for graph in graphs.values() for part in graph.nodes.values()]
    shared = [part.config for graph in graphs.values() for part in graph.connections.values()]
    return {Path(name) for one in (*options, *shared) for name in named_files(one)}
