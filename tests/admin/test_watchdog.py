"""The watchdog: how late the event loop was, and where it stood while it was stuck."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest

from flowrunner import Message, NodeOptions, Transform, node_type
from flowrunner.admin import watchdog
from flowrunner.admin.watchdog import LOOK, STUCK, Watchdog
from flowrunner.clock import SystemClock
from tests.nodes.harness import RecordingLog
from tests.runtime.flows import FlowBuilder, record, running

Config = NodeOptions


@node_type("blocking")
class Blocking(Transform[NodeOptions]):
    """A node that holds the event loop for as many seconds as the payload says."""

    def on_message(self, message: Message) -> Iterable[Message]:
        time.sleep(message.payload)
        yield message


@asynccontextmanager
async def watched() -> AsyncIterator[tuple[Watchdog, RecordingLog]]:
    log = RecordingLog()
    found = Watchdog()
    task = asyncio.create_task(found.run(log))
    await asyncio.sleep(0)
    yield found, log
    task.cancel()
    await asyncio.wait({task})


async def test_the_stack_of_a_node_that_blocks_is_logged_while_it_blocks() -> None:
    graph = FlowBuilder().source("a").node("n", Blocking, "a").sink("b", "n").graph()
    async with watched() as (dog, log), running(graph, clock=SystemClock()) as flow:
        flow.feed("a", record(LOOK + 2 * STUCK + 0.2))
        await asyncio.sleep(LOOK + 2 * STUCK + 0.5)
        lag, p99 = dog.lag, dog.p99

    (line,) = log.lines
    assert ("warning", "event loop is stuck", 1) == (*line[:2], dog.stuck)
    assert "test_watchdog.py" in line[2]["stack"]
    assert line[2]["stack"].rpartition(" ")[2] == "on_message"
    assert STUCK < max(lag, p99)


async def test_stacks_are_logged_once_in_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK", 0.02)
    monkeypatch.setattr(watchdog, "STUCK", 0.02)
    monkeypatch.setattr(watchdog, "_PAUSE", 0.4)
    async with watched() as (dog, log):
        for _ in range(4):
            time.sleep(0.1)  # noqa: ASYNC251  # this is what is to be seen
            await asyncio.sleep(0.03)
        seen = len(log.lines)
        await asyncio.sleep(0.4)
        time.sleep(0.1)  # noqa: ASYNC251
        await asyncio.sleep(0.03)

    assert (1, 2) == (seen, len(log.lines))
    assert dog.stuck == 2


async def test_a_loop_that_turns_is_not_complained_of_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    async with watched() as (dog, log):
        assert 0.0 == dog.p99
        (watcher,) = set(threading.enumerate()) - before
        await asyncio.sleep(2.5 * LOOK)
        assert 0.0 <= dog.lag < STUCK

    assert ([], False) == (log.lines, watcher.is_alive())


def test_the_99th_percentile_is_that_of_the_looks_so_far() -> None:
    dog = Watchdog()
    dog._lags.extend(number / 1000 for number in range(1, 101))

    assert 0.099 == dog.p99
