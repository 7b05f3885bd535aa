"""After each kind of fault, many times over: tasks, threads, descriptors and memory are back where they were."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from flowrunner import RetryLater
from flowrunner.runtime.storage import FlowSettings
from flowrunner.runtime.supervisor import Flow
from flowrunner.testing import VirtualClock, run_virtual
from tests.nodes.harness import RecordingLog
from tests.runtime.flows import START, Feed, Keep, record, registered
from tests.runtime.graphs import load

ROUNDS = 5
GROWTH = 8 * 2**20
"""Bytes by which the process may grow over the last rounds: allocators keep some, a leak of payloads is far above."""
PADDING = "x" * 4000
FLOW = """
version: 1
flow: random
delivery: {delivery}
nodes:
  s: {{ type: feed, description: "{text}" }}
  late: {{ type: delay, from: s, by: 2s, buffer: {{ capacity: 4 }} }}
  out: {{ type: keep, from: [s, late], buffer: {{ capacity: 4 }}{outbox} }}
  beside: {{ type: filter, from: out.errors, where: "true" }}
  end: {{ type: keep, from: beside }}
"""


class Footprint(msgspec.Struct, frozen=True):
    """What the process takes when the flow is calm."""

    tasks: int
    threads: int
    descriptors: int
    memory: int


class Bench:
    """A flow that is disturbed again and again."""

    def __init__(self, folder: Path, *, disk: bool) -> None:
        self._folder = folder
        self._disk = disk
        self._settings = FlowSettings(state_dir=folder / "state", checkpoint_every=0.5)
        self._task: asyncio.Task[None]
        self.flow: Flow

    def _text(self, text: str = "") -> str:
        delivery, outbox = ("journal", ", outbox: { max_bytes: 1MiB }") if self._disk else ("memory", "")
        return FLOW.format(delivery=delivery, outbox=outbox, text=text)

    async def start(self) -> None:
        graph = load(self._folder, self._text())
        self.flow = Flow(graph, self._settings, VirtualClock(START), RecordingLog())
        self._task = asyncio.create_task(self.flow.run())
        await asyncio.sleep(1)

    async def end(self) -> None:
        self.flow.stop(30.0)
        await self._task

    def sink(self) -> Keep:
        node = self.flow.runner.assembly.sinks["out"].node
        assert isinstance(node, Keep)
        return node

    async def restart(self) -> None:
        """Crash, and begin anew at the last checkpoint."""
        self._task.cancel()
        await asyncio.wait({self._task})
        await self.start()

    async def reload(self) -> None:
        graph = load(self._folder, self._text(f"version {self.flow.generation}"))
        await self.flow.replace(graph)

    async def refuse(self) -> None:
        self.sink().refuse = [RetryLater("503"), RetryLater("503", after=5.0), RetryLater("503")]

    async def crash_sink(self) -> None:
        self.sink().refuse = [ValueError("a bug"), ValueError("a bug")]

    async def stall(self) -> None:
        node = self.sink()
        node.gate.clear()
        asyncio.get_running_loop().call_later(20, node.gate.set)

    async def rounds(self, count: int, fault: Callable[[], Awaitable[Any]]) -> Footprint:
        """Let a fault happen to a flow that is at work, and wait until all is well; measure in the end."""
        for _ in range(count):
            await self._round(fault)
        gc.collect()
        process = psutil.Process()
        return Footprint(
            len(asyncio.all_tasks()), process.num_threads(), process.num_fds(), process.memory_info().rss
        )

    async def _round(self, fault: Callable[[], Awaitable[Any]]) -> None:
        await fault()
        source = self.flow.runner.assembly.sources["s"]
        for number in range(20):
            source.context.post([record([number, PADDING])])
            await asyncio.sleep(0.3)
        async with asyncio.timeout(1000):
            while self.flow.runner.ledger.held:
                await asyncio.sleep(1)
        assert (0, 0) == (self.flow.runner.ledger.held, self.flow.runner.ledger.balance)
        for sink in self.flow.runner.assembly.sinks.values():
            assert isinstance(sink.node, Keep)
            sink.node.kept.clear()


@pytest.fixture(autouse=True)
def _types() -> Iterator[None]:
    with registered(feed=Feed, keep=Keep):
        yield


@pytest.mark.parametrize("disk", [False, True], ids=["memory", "disk"])
@pytest.mark.parametrize("fault", ["refuse", "crash_sink", "stall", "reload", "restart"])
def test_nothing_grows_however_often_a_fault_comes(fault: str, disk: bool, tmp_path: Path) -> None:
    async def scenario() -> tuple[Footprint, Footprint]:
        bench = Bench(tmp_path, disk=disk)
        await bench.start()
        early = await bench.rounds(3, getattr(bench, fault))
        last = await bench.rounds(ROUNDS, getattr(bench, fault))
        await bench.end()
        return early, last

    before = psutil.Process().num_fds()
    early, last = run_virtual(scenario())

    assert (early.tasks, early.threads) == (last.tasks, last.threads)
    assert last.descriptors <= early.descriptors
    assert last.memory - early.memory < GROWTH
    assert psutil.Process().num_fds() <= before
