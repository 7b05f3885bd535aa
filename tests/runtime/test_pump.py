"""The pump: whose clock a flow follows, and that it sleeps when there is nothing to do."""

from __future__ import annotations

import asyncio
from typing import Any

from flowrunner import NANOSECONDS, Record
from flowrunner.testing import VirtualClock, run_virtual
from tests.runtime.flows import START, FlowBuilder, Replay, Running, record, running
from tests.runtime.test_flow import Later


class SettableClock(VirtualClock):
    """A virtual clock whose wall time a test can set back or forward."""

    offset = 0

    def now(self) -> int:
        return super().now() + self.offset


def _turns(flow: Running) -> list[int]:
    """Count how often the pump looks at the journal."""
    journal, looks = flow.runner.journal, [0]
    read = journal.read

    async def counted(after: int, limit: int = 1024) -> Any:
        looks[0] += 1
        return await read(after, limit)

    journal.read = counted  # type: ignore[method-assign]
    return looks


def test_a_clock_set_back_an_hour_delays_for_twice_as_long_at_most() -> None:
    async def scenario() -> None:
        clock = SettableClock(START)
        graph = FlowBuilder().source("a").node("later", Later, "a").sink("b", "later").graph()
        async with running(graph, clock=clock, checkpoint_every=1.0) as flow:
            await flow.feed("a", record(1))
            await asyncio.sleep(5)
            clock.offset = -3600 * NANOSECONDS
            await flow.feed("a", record(2))
            await asyncio.sleep(16)
            assert [1] == flow.payloads("b")
            await asyncio.sleep(5)

            assert [1, 2] == flow.payloads("b")
            assert flow.runner.checkpointer.age >= 0
            assert flow.runner.latency.total >= 0

    run_virtual(scenario())


def test_a_clock_set_forward_an_hour_is_followed() -> None:
    async def scenario() -> None:
        clock = SettableClock(START)
        graph = FlowBuilder().source("a").node("later", Later, "a").sink("b", "later").graph()
        async with running(graph, clock=clock) as flow:
            await flow.feed("a", record(1))
            clock.offset = 3600 * NANOSECONDS
            await flow.feed("a", record(2))
            await asyncio.sleep(1)

            assert [1] == flow.payloads("b")

    run_virtual(scenario())


def test_while_the_past_is_replayed_time_stands_still_between_records_and_the_pump_sleeps() -> None:
    async def scenario() -> None:
        graph = FlowBuilder().node("a", Replay).node("later", Later, "a").sink("b", "later").graph()
        async with running(graph) as flow:
            looks = _turns(flow)
            for at in (0, 10 * NANOSECONDS - 1):
                await flow.runner.assembly.sources["a"].context.post([Record(b"1", "t", clock=START + at)])
            await asyncio.sleep(3600)
            assert [] == flow.payloads("b")
            assert looks[0] < 20  # the first timer is due in a nanosecond
            replay = flow.runner.assembly.sources["a"].node
            assert isinstance(replay, Replay)
            replay.end.set()
            await asyncio.sleep(1)

            assert [1, 1] == flow.payloads("b")
            assert flow.runner.finished

    run_virtual(scenario())


def test_a_calm_flow_does_nothing() -> None:
    async def scenario() -> None:
        graph = FlowBuilder().source("a").node("later", Later, "a").sink("b", "later").graph()
        async with running(graph) as flow:
            looks = _turns(flow)
            await flow.feed("a", record(1))
            await asyncio.sleep(86_400)

            assert looks[0] < 20
            assert flow.runner.checkpointer.saved_at < START + 60 * NANOSECONDS

    run_virtual(scenario())


def test_a_flow_without_sources_keeps_its_time_and_its_checkpoints() -> None:
    async def scenario() -> None:
        own: dict[str, Any] = {"buffer": {"capacity": 1}}
        builder = FlowBuilder().node("later", Later).sink("b", "later").node("own", Later, **own)
        graph = builder.sink("c", "own").sink("alone").graph()
        async with running(graph) as flow:
            for name in ("later", "own"):
                node: Any = flow.runner.assembly.steps[name].node
                node.waiting[1] = "x"
                node.context.counters.created += 1
                node.context.counters.held += 1
                node.context.timers.set(1, START + 5 * NANOSECONDS, now=START)
            flow.runner.pump.wake()
            await asyncio.sleep(30)

            assert ["x"] == flow.payloads("b") == flow.payloads("c")
            assert flow.runner.checkpointer.saved_at > START

    run_virtual(scenario())


def test_a_message_of_a_megabyte_and_a_hundred_thousand_in_one_post() -> None:
    async def scenario() -> None:
        async with running(FlowBuilder().source("a").sink("b", "a").graph()) as flow:
            await flow.feed("a", record("x" * 2**20), *[record(number) for number in range(100_000)])
            await asyncio.sleep(5)

            assert 100_001 == len(flow.sink("b").kept)
            assert 2**20 == len(flow.payloads("b")[0])

    run_virtual(scenario())
