"""Random flows under random faults: every message comes to an end, and the books balance at any moment.

A flow that hangs or loses count is named by its seed, and its YAML is shown.
``FLOWRUNNER_HUNT`` is how many flows are tried, ``FLOWRUNNER_HUNT_SEED`` is the first seed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from flowrunner.errors import JournalFull
from flowrunner.graph.build import Graph
from flowrunner.runtime.storage import FlowSettings, Storage
from flowrunner.runtime.supervisor import Flow
from flowrunner.testing import VirtualClock, run_virtual
from flowrunner.testing.play import KeptStorage
from tests.nodes.harness import RecordingLog
from tests.runtime.flows import START, Feed, registered
from tests.runtime.graphs import HEALED, Unruly, changed_flow, load, random_flow, random_records

FLOWS = int(os.environ.get("FLOWRUNNER_HUNT", "1000"))
SEED = int(os.environ.get("FLOWRUNNER_HUNT_SEED", "0"))
SHARES = 10
"""Tests among which the flows are divided: a failure does not hide what the others find."""
ON_DISK = 20
"""One flow in so many has a journal and outboxes on disk."""
PATIENCE = 7200.0
"""Seconds after the last fault in which windows close, pauses end, and everything is written."""


@pytest.fixture(autouse=True)
def _types() -> Iterator[None]:
    with registered(feed=Feed, unruly=Unruly):
        yield


class Hunt:
    """One random flow and what happens to it."""

    def __init__(self, seed: int, folder: Path) -> None:
        self._random = Random(seed)
        self._folder = folder
        self._on_disk = seed % ON_DISK == 0
        self.text = random_flow(self._random, outbox=self._on_disk)
        self._clock = VirtualClock(START)
        self._log = RecordingLog()
        self._settings = FlowSettings(
            state_dir=folder / "state", checkpoint_every=self._random.choice((0.5, 10.0))
        )
        self._flow: Flow
        self._task: asyncio.Task[None]

    async def run(self) -> None:
        """Feed, disturb, wait for the end of everything."""
        async with asyncio.timeout(HEALED + 3 * PATIENCE):
            await self._run()

    async def _run(self) -> None:
        random = self._random
        graph = load(self._folder, self.text)
        self._flow = Flow(graph, self._settings, self._clock, self._log, self._new_storage(graph))
        await self._start()
        for _ in range(random.randint(1, 6)):
            await self._feed()
            await self._pass(random.choice((0.0, 0.01, 1.0, 30.0)))
            await self._disturb()
        await self._pass(max(0.0, HEALED - asyncio.get_running_loop().time()))
        await self._come_to_an_end()
        self._flow.stop(30.0)
        await self._task
        assert self._held() == 0
        if isinstance(storage := self._flow.storage, KeptStorage):
            await storage.discard()

    async def _feed(self) -> None:
        for source in self._flow.runner.assembly.sources.values():
            count = self._random.choice((1, 5, 40, 200))
            try:
                source.context.post(random_records(self._random, count))
            except JournalFull as error:
                raise AssertionError("the journal was not to be full") from error

    async def _pass(self, seconds: float) -> None:
        """Let time pass, and look at the books meanwhile."""
        for _ in range(3):
            await asyncio.sleep(seconds / 3)
            self._check_books()

    async def _disturb(self) -> None:
        match self._random.choice(("nothing", "nothing", "reload", "crash", "replay")):
            case "reload":
                self.text = changed_flow(self._random, self.text)
                await self._flow.replace(load(self._folder, self.text))
            case "crash":
                self._task.cancel()
                await asyncio.wait({self._task})
                kept = self._flow.storage
                storage = kept if isinstance(kept, KeptStorage) else self._new_storage(self._flow.graph)
                self._flow = Flow(self._flow.graph, self._settings, self._clock, self._log, storage)
                await self._start()
            case "replay":
                self._flow.runner.replays.wake()

    async def _come_to_an_end(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while self._held():
            assert loop.time() < end, f"it hangs: {self._flow.runner.ledger}"
            await asyncio.sleep(20.0)
            self._check_books()

    async def _start(self) -> None:
        self._task = asyncio.create_task(self._flow.run())
        await asyncio.wait(
            {self._task, asyncio.create_task(self._flow.runner.ready.wait())},
            return_when=asyncio.FIRST_COMPLETED,
        )
        assert not self._task.done(), "the flow did not start"

    def _held(self) -> int:
        return self._flow.runner.ledger.held

    def _check_books(self) -> None:
        assert self._flow.restarts == 0, [line for line in self._log.lines if line[0] == "error"]
        runner = self._flow.runner
        assert runner.ledger.balance == 0, runner.ledger
        for name in (*runner.assembly.steps, *runner.assembly.sinks):
            counters = runner.assembly.contexts[name].counters
            assert counters.balance() >= 0, (name, counters)

    def _new_storage(self, graph: Graph) -> Storage:
        kind = Storage if self._on_disk else KeptStorage
        return kind(graph.name, graph.delivery, self._settings, self._clock)


def hunt(seed: int, folder: Path) -> None:
    """Run the flow of one seed; what fails tells the seed and the flow."""
    folder.mkdir()
    found = Hunt(seed, folder)
    try:
        run_virtual(found.run())
    except BaseException as error:
        error.add_note(f"seed {seed}, flow:\n{found.text}")
        raise


@pytest.mark.parametrize("share", range(SHARES))
def test_in_a_random_flow_every_message_comes_to_an_end(share: int, tmp_path: Path) -> None:
    for seed in range(SEED + share, SEED + FLOWS, SHARES):
        hunt(seed, tmp_path / str(seed))
