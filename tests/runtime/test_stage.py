"""Stages: long work is cut into slices, so that the loop turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import pytest

from flowrunner import NANOSECONDS, NEVER, Message, NodeOptions, Transform, node_type
from flowrunner.runtime import stage
from flowrunner.runtime.stage import NodeCrashError
from flowrunner.testing import VirtualClock, run_virtual
from tests.runtime.flows import START, FlowBuilder, record, running

Config = NodeOptions


@node_type("alarms")
class Alarms(Transform[NodeOptions]):
    """Sets as many timers as a message says; every second one emits."""

    def on_message(self, message: Message) -> None:
        for number in range(message.payload):
            self.context.timers.set(number, message.clock + 10 * NANOSECONDS, now=message.clock)

    def on_timer(self, key: int, due: int) -> Iterable[Message]:
        if key < 0 or key % 2:
            return ()
        self.context.counters.created += 1
        return (Message("t", key, due, clock=due),)


@node_type("faulty_timer")
class FaultyTimer(Transform[NodeOptions]):
    """Its timer raises."""

    def on_message(self, message: Message) -> None:
        self.context.timers.set("x", message.clock + NANOSECONDS, now=message.clock)

    def on_timer(self, key: str, due: int) -> Iterable[Message]:
        raise ZeroDivisionError(key)


@pytest.mark.parametrize("emitting", [True, False])
def test_a_quarter_million_timers_that_are_due_at_once_do_not_hold_up_the_loop(emitting: bool) -> None:
    longest = 0.0
    work = 0.0

    async def watch() -> None:
        nonlocal longest, work
        while True:
            before = time.thread_time()  # what other programs do meanwhile is not ours
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)
            work += time.thread_time() - before

    async def scenario() -> None:
        clock = VirtualClock(START)
        graph = FlowBuilder().source("a").node("alarms", Alarms, "a").sink("b", "alarms").graph()
        async with running(graph, clock=clock, checkpoint_every=1000) as flow:
            timers = flow.runner.assembly.steps["alarms"].timers
            for number in range(250_000):
                key = number * 2 if emitting else -1 - number
                timers.set(key, START + 10 * NANOSECONDS, now=START)
            await asyncio.sleep(9.99)
            flow.runner.pump.wake()
            await asyncio.sleep(0.0099)
            watching = asyncio.create_task(watch())
            clock._start += NANOSECONDS  # the loop's own time stands still while somebody watches
            flow.runner.pump.wake()
            while timers or flow.runner.ledger.held:
                await asyncio.sleep(0)
            watching.cancel()

            assert (250_000 if emitting else 0) == len(flow.sink("b").kept)

    run_virtual(scenario())
    assert longest < 0.25 * work


def test_a_timer_that_raises_names_its_node() -> None:
    async def scenario() -> None:
        graph = FlowBuilder().source("a").node("faulty", FaultyTimer, "a").sink("b", "faulty").graph()
        async with running(graph) as flow:
            await flow.feed("a", record(1))
            await asyncio.sleep(2)
            flow.runner.stop(0.0)

    with pytest.raises(ExceptionGroup) as raised:
        run_virtual(scenario())
    assert raised.group_contains(NodeCrashError, match="node `faulty` crashed: ZeroDivisionError: x")


def test_a_message_for_a_port_without_a_wire_is_counted() -> None:
    async def scenario() -> None:
        graph = FlowBuilder().source("a").node("alarms", Alarms, "a").sink("b", "a").graph()
        async with running(graph) as flow:
            await flow.feed("a", record(4))
            await asyncio.sleep(11)

            counters: Any = flow.runner.assembly.contexts["alarms"].counters
            assert {"unwired": 2} == counters.dropped

    run_virtual(scenario())


@node_type("bulky")
class Bulky(Alarms):
    """One timer of it sets ten thousand messages free, as the end of a window does."""

    def __init__(self, config: NodeOptions, context: Any) -> None:
        super().__init__(config, context)
        self.left = 10_000

    def on_message(self, message: Message) -> None:
        if not len(self.context.timers):
            self.context.timers.set("end", message.clock + 10 * NANOSECONDS, now=message.clock)

    def advance(self, clock: int, out: list[Message], limit: int = NEVER) -> bool:
        while self.context.timers.due <= clock and self.left and len(out) < limit:
            self.left -= 1
            self.context.counters.created += 1
            out.append(Message("t", self.left, self.context.timers.due, clock=self.context.timers.due))
        if not self.left:
            self.context.timers.cancel("end")
        return self.context.timers.due > clock


@pytest.mark.parametrize("cls", [Alarms, Bulky])
def test_what_fires_before_a_message_fires_in_slices_and_in_order(
    cls: type[Alarms], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "PATIENCE_NS", 0)

    async def scenario() -> None:
        graph = FlowBuilder().source("a").node("n", cls, "a").sink("b", "n", "a").graph()
        async with running(graph) as flow:
            await flow.feed("a", record(20_000))
            await asyncio.sleep(1)
            step = flow.runner.assembly.steps["n"]
            slices = step.counters.batches
            late = [
                Message("t", 0, START, clock=START + second * NANOSECONDS, seq=100 + second)
                for second in (1, 30, 31)
            ]
            step.inbox.lists.append(late)
            flow.runner.assembly.pumped._yielded = 0
            await flow.runner.assembly.pumped.advance(START + 40 * NANOSECONDS)

            assert step.counters.batches - slices >= 10
            assert 10_000 == step.counters.created
            assert 4 == step.counters.received
            flow.runner.assembly.sources["a"].context.counters.received += 3  # the messages came from nowhere
            flow.runner.pump.pumped["a"] += 3
            await flow.feed("a", record(0))
            await asyncio.sleep(1)

            assert 10_002 == len(flow.payloads("b"))

    run_virtual(scenario())
