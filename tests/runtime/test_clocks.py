"""The wall clock jumps: windows and throttles keep their meaning, no timer stalls or fires twice, no age is negative."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flowrunner import NANOSECONDS, Message, Record
from flowrunner.graph.build import Graph
from flowrunner.runtime.storage import FlowSettings
from flowrunner.runtime.supervisor import Flow
from flowrunner.testing import VirtualClock, run_virtual
from flowrunner.testing.play import KeptStorage
from tests.nodes.harness import RecordingLog
from tests.runtime.flows import START, Feed, registered
from tests.runtime.graphs import Unruly, load

HOUR = 3600
DAY = 24 * HOUR
YEARS = 3652 * DAY
JUMPS = {"a day on": DAY, "a day back": -DAY, "an hour back": -HOUR, "three seconds back": -3}
FLOW = """
version: 1
flow: random
delivery: memory
nodes:
  s: { type: feed }
  delayed: { type: delay, from: s, by: 7s }
  calm: { type: throttle, from: s, every: 5s, emit: last }
  sums: { type: aggregate, from: s, window: { type: tumbling, size: 10s }, fields: { n: count() } }
  at_delayed: { type: unruly, mood: well, from: delayed }
  at_calm: { type: unruly, mood: well, from: calm }
  at_sums: { type: unruly, mood: well, from: sums }
"""


class JumpingClock(VirtualClock):
    """A wall clock that can be set; its monotonic time cannot."""

    jump = 0

    def now(self) -> int:
        return super().now() + self.jump * NANOSECONDS


class Clocked:
    """A flow under a clock that jumps."""

    def __init__(self, graph: Graph, checkpoint_every: float = 0.5) -> None:
        self.clock = JumpingClock(START)
        self._graph = graph
        self._settings = FlowSettings(state_dir=Path("unused"), checkpoint_every=checkpoint_every)
        self._storage = KeptStorage(graph.name, "memory", self._settings, self.clock)
        self.kept: dict[str, list[tuple[float, Message]]] = {}
        self._task: asyncio.Task[None]
        self.flow: Flow

    async def start(self) -> None:
        self.flow = Flow(self._graph, self._settings, self.clock, RecordingLog(), self._storage)
        for name, sink in self.flow.runner.assembly.sinks.items():
            self._remember(name, sink.node)
        self._task = asyncio.create_task(self.flow.run())
        await self.flow.runner.ready.wait()

    def _remember(self, name: str, node: Any) -> None:
        kept, write = self.kept.setdefault(name, []), node.write

        async def remember(batch: Any) -> None:
            kept.extend((asyncio.get_running_loop().time(), message) for message in batch)
            await write(batch)

        node.write = remember

    async def crash(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def feed(self, seconds: int, *, first: int = 0, time: int | None = None) -> None:
        """Feed a record a second."""
        for number in range(first, first + seconds):
            source = self.flow.runner.assembly.sources["s"]
            source.context.post([Record(msgspec.json.encode(number), "t", time)])
            await asyncio.sleep(1)
            self.check()

    def check(self) -> None:
        runner = self.flow.runner
        assert runner.ledger.balance == 0
        assert runner.checkpointer.age >= 0
        assert sum(runner.latency.counts) == 0 or runner.latency.total >= 0

    async def end(self) -> dict[str, list[tuple[float, Message]]]:
        """Let what is held come out, within a minute, and return by sink when it came and what."""
        await asyncio.sleep(60)
        assert self.flow.runner.ledger.held == 0
        assert self.flow.restarts == 0
        self.flow.stop(5.0)
        await self._task
        await self._storage.discard()
        return self.kept


@pytest.fixture(autouse=True)
def _types() -> Iterator[None]:
    with registered(feed=Feed, unruly=Unruly):
        yield


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
@pytest.mark.parametrize("when", ["running", "between crash and restart"])
def test_after_a_jump_nothing_waits_longer_or_comes_twice(when: str, jump: int, tmp_path: Path) -> None:
    async def scenario() -> dict[str, list[tuple[float, Message]]]:
        clocked = Clocked(load(tmp_path, FLOW))
        await clocked.start()
        await clocked.feed(20)
        if when != "running":
            await clocked.crash()
        clocked.clock.jump = jump
        if when != "running":
            await clocked.start()
        await clocked.feed(20, first=20)
        return await clocked.end()

    kept = run_virtual(scenario())

    delayed = kept["at_delayed"]
    assert list(range(40)) == [message.payload for _, message in delayed]
    assert max(at - message.payload for at, message in delayed) < (7.1 if jump > 0 else 14.1)
    calm = [message.payload for _, message in kept["at_calm"]]
    assert sorted(set(calm)) == calm
    assert (4 if jump < 0 else 7) <= len(calm) <= 10
    assert 39 == calm[-1]
    windows = [message.time for _, message in kept["at_sums"]]
    assert len(set(windows)) == len(windows)
    assert 20 <= sum(message.payload["n"] for _, message in kept["at_sums"])


@pytest.mark.parametrize("restart", [False, True], ids=["running", "over a restart"])
def test_windows_are_complete_again_when_the_wall_clock_has_come_to_where_it_was(
    restart: bool, tmp_path: Path
) -> None:
    async def scenario() -> dict[str, list[tuple[float, Message]]]:
        clocked = Clocked(load(tmp_path, FLOW))
        await clocked.start()
        await clocked.feed(20)
        clocked.clock.jump = -30
        if restart:
            await clocked.crash()
            await clocked.start()
        await clocked.feed(100, first=20)
        return await clocked.end()

    kept = run_virtual(scenario())

    counts = [message.payload["n"] for _, message in kept["at_sums"]]
    assert [10] * 3 == counts[-4:-1]
    assert sum(counts) >= 120 - 2 * 30 - 10


def test_a_clock_that_was_years_ahead_at_the_start_does_not_stall_a_timer(tmp_path: Path) -> None:
    async def scenario() -> dict[str, list[tuple[float, Message]]]:
        clocked = Clocked(load(tmp_path, FLOW))
        clocked.clock.jump = YEARS
        await clocked.start()
        await clocked.feed(10)
        clocked.clock.jump = 0
        await clocked.feed(10, first=10)
        await clocked.crash()
        await clocked.start()
        await clocked.feed(10, first=20)
        return await clocked.end()

    kept = run_virtual(scenario())

    assert list(range(30)) == [message.payload for _, message in kept["at_delayed"]]
    assert max(at - message.payload for at, message in kept["at_delayed"]) < 14.1
    assert 29 == kept["at_calm"][-1][1].payload


@pytest.mark.parametrize("years", [YEARS, -YEARS], ids=["ten years ahead", "ten years behind"])
def test_an_event_with_a_wrong_time_moves_nobody_elses_window(years: int, tmp_path: Path) -> None:
    async def scenario() -> tuple[dict[str, list[tuple[float, Message]]], int, int]:
        clocked = Clocked(load(tmp_path, FLOW))
        await clocked.start()
        await clocked.feed(10)
        await clocked.feed(1, first=10, time=START + years * NANOSECONDS)
        await clocked.feed(9, first=11)
        await asyncio.sleep(60)
        runner = clocked.flow.runner
        books = runner.ledger
        assert books.balance == 0
        clocked.flow.stop(5.0)
        await clocked._task
        return clocked.kept, books.held, books.dropped.get("late", 0)

    kept, held, late = run_virtual(scenario())

    assert list(range(20)) == [message.payload for _, message in kept["at_delayed"]]
    assert [10, 9] == [message.payload["n"] for _, message in kept["at_sums"]]
    # One that is ahead waits in its own window, one that is behind is late.
    assert ((1, 0) if years > 0 else (0, 1)) == (held, late)


@pytest.mark.parametrize(
    ("day", "hours"),
    [("2026-03-28T23:00:00", 23), ("2026-10-24T22:00:00", 25)],
    ids=["spring", "autumn"],
)
def test_a_day_of_the_wall_clock_is_one_window_of_23_or_25_hours(
    day: str, hours: int, tmp_path: Path
) -> None:
    begins = round(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * NANOSECONDS
    text = FLOW.replace("size: 10s", "size: 1d, timezone: Europe/Berlin")

    async def scenario() -> dict[str, list[tuple[float, Message]]]:
        clocked = Clocked(load(tmp_path, text), checkpoint_every=HOUR)
        clocked.clock.jump = (begins - START) // NANOSECONDS
        await clocked.start()
        for number in range(hours + 1):
            await clocked.feed(1, first=number)
            await asyncio.sleep(HOUR - 1)
        clocked.flow.stop(5.0)
        await clocked._task
        return clocked.kept

    kept = run_virtual(scenario())

    ((at, window),) = kept["at_sums"]
    assert (begins, hours) == (window.time, window.payload["n"])
    assert hours * HOUR <= at <= hours * HOUR + 2
