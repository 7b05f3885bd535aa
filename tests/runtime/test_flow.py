"""A whole flow in virtual time: what goes in comes out, in order, and the books balance."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from flowrunner import (
    NANOSECONDS,
    Message,
    MessageError,
    NodeOptions,
    Record,
    RetryLater,
    Transform,
    node_type,
)
from flowrunner.runtime.flow import FlowStoppedError
from flowrunner.testing import run_virtual
from tests.runtime.flows import FlowBuilder, record, running

Config = NodeOptions


@node_type("even")
class Even(Transform[NodeOptions]):
    """Passes even numbers, fails on text."""

    def on_message(self, message: Message) -> Iterable[Message]:
        if isinstance(message.payload, str):
            raise MessageError("not a number")
        if message.payload % 2 == 0:
            yield message


@node_type("twice")
class Twice(Transform[NodeOptions]):
    """Emits every message twice."""

    def on_message(self, message: Message) -> Iterable[Message]:
        return message, message


@node_type("later")
class Later(Transform[NodeOptions]):
    """Emits every message ten seconds later."""

    def __init__(self, config: NodeOptions, context: Any) -> None:
        super().__init__(config, context)
        self.waiting: dict[int, Any] = {}
        self.number = 0

    def on_message(self, message: Message) -> None:
        self.number += 1
        self.waiting[self.number] = message.payload
        self.context.counters.held += 1
        self.context.timers.set(self.number, message.clock + 10 * NANOSECONDS, now=message.clock)

    def on_timer(self, key: int, due: int) -> Iterable[Message]:
        self.context.counters.held -= 1
        yield Message("late", self.waiting.pop(key), due, clock=due)

    def snapshot(self) -> Any:
        return [self.number, list(self.waiting.items())]

    def restore(self, state: Any) -> None:
        self.number, self.waiting = state[0], dict(state[1])


def test_messages_go_from_source_to_sink_in_order() -> None:
    async def scenario() -> None:
        async with running(FlowBuilder().source("a").sink("b", "a").graph()) as flow:
            await flow.feed("a", *[record(number) for number in range(5000)])
            await asyncio.sleep(1)

            assert list(range(5000)) == flow.payloads("b")
            assert flow.runner.ledger.held == 0

    run_virtual(scenario())


def test_a_sink_that_does_not_accept_gets_the_batch_again() -> None:
    async def scenario() -> None:
        async with running(FlowBuilder().source("a").sink("b", "a").graph()) as flow:
            flow.sink("b").refuse = [RetryLater("503"), RetryLater("503", after=60.0), ValueError("bug")]
            await flow.feed("a", record(1), record(2))
            await asyncio.sleep(200)

            assert [1, 2] == flow.payloads("b")
            counters = flow.runner.assembly.contexts["b"].counters
            assert (2, 3) == (counters.written, counters.retries)

    run_virtual(scenario())


def test_only_what_remains_is_written_again() -> None:
    async def scenario() -> None:
        async with running(FlowBuilder().source("a").sink("b", "a").graph()) as flow:
            sink = flow.sink("b")

            async def write(batch: Any) -> None:
                sink.kept += batch[:2]
                if len(batch) > 2:
                    raise RetryLater("slow", remaining=batch[2:])

            sink.write = write  # type: ignore[method-assign]
            await flow.feed("a", *[record(number) for number in range(5)])
            await asyncio.sleep(60)

            assert [0, 1, 2, 3, 4] == flow.payloads("b")

    run_virtual(scenario())


def test_a_fan_out_shares_and_a_fan_in_keeps_the_order_of_the_journal() -> None:
    async def scenario() -> None:
        builder = FlowBuilder().source("a").node("even", Even, "a").node("twice", Twice, "a")
        async with running(builder.sink("b", "even", "twice").graph()) as flow:
            await flow.feed("a", *[record(number) for number in range(4)])
            await asyncio.sleep(1)

            assert [0, 0, 0, 1, 1, 2, 2, 2, 3, 3] == flow.payloads("b")
            books = flow.runner.ledger
            assert (4, 8, 10, 2) == (books.received, books.created, books.written, books.filtered)

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("policy", "ended"),
    [
        ("dead_letter", {"dead_lettered": 1, "dropped": {}}),
        ("drop", {"dead_lettered": 0, "dropped": {"error": 1}}),
    ],
)
def test_a_message_that_fails_ends_as_the_node_says(policy: str, ended: dict[str, Any]) -> None:
    async def scenario() -> None:
        graph = FlowBuilder().source("a").node("even", Even, "a", on_error=policy).sink("b", "even").graph()
        async with running(graph) as flow:
            await flow.feed("a", record(2), record("x"), record(4))
            await asyncio.sleep(1)

            assert [2, 4] == flow.payloads("b")
            books = flow.runner.ledger
            assert ended == {"dead_lettered": books.dead_lettered, "dropped": books.dropped}

    run_virtual(scenario())


def test_a_wired_errors_port_gets_what_fails_with_the_reason() -> None:
    async def scenario() -> None:
        builder = (
            FlowBuilder().source("a").node("even", Even, "a").sink("b", "even").sink("bad", "even.errors")
        )
        async with running(builder.graph()) as flow:
            await flow.feed("a", record("x"))
            await asyncio.sleep(1)

            message = flow.sink("bad").kept[0]
            assert ("x", {"error": "not a number", "error_node": "even"}) == (
                message.payload,
                dict(message.meta),
            )

    run_virtual(scenario())


def test_what_a_sink_rejects_goes_to_its_errors_port_and_on_to_another_sink() -> None:
    async def scenario() -> None:
        builder = FlowBuilder().source("a").sink("b", "a").node("even", Even, "b.errors").sink("bad", "even")
        async with running(builder.graph()) as flow:
            sink = flow.sink("b")

            async def write(batch: Any) -> None:
                for message in batch:
                    sink.context.fail(message, "no")

            sink.write = write  # type: ignore[method-assign]
            await flow.feed("a", record(1), record(2))
            await asyncio.sleep(1)

            assert [2] == flow.payloads("bad")

    run_virtual(scenario())


def test_on_error_stop_stops_the_flow() -> None:
    async def scenario() -> None:
        graph = FlowBuilder().source("a").node("even", Even, "a", on_error="stop").sink("b", "even").graph()
        async with running(graph) as flow:
            await flow.feed("a", record("x"))

    with pytest.raises(ExceptionGroup) as raised:
        run_virtual(scenario())
    assert raised.group_contains(FlowStoppedError, match="`even` has `on_error: stop`", depth=1)


def test_undecodable_data_is_dead_lettered_at_its_source() -> None:
    async def scenario() -> None:
        async with running(FlowBuilder().source("a").sink("b", "a").graph()) as flow:
            await flow.feed("a", Record(b"\xff{", "t"), record(2))
            await asyncio.sleep(15)

            assert [2] == flow.payloads("b")
            letters = await flow.runner.store.read_dead_letters()
            assert [("a", "\\xff{", b"\xff{")] == [
                (one.letter.node, one.letter.payload, one.letter.data) for one in letters
            ]

    run_virtual(scenario())


def test_timers_fire_when_the_flow_clock_reaches_them() -> None:
    async def scenario() -> None:
        async with running(
            FlowBuilder().source("a").node("later", Later, "a").sink("b", "later").graph()
        ) as flow:
            await flow.feed("a", record(1))
            await asyncio.sleep(9)
            assert [] == flow.payloads("b")
            assert flow.runner.ledger.held == 1
            await asyncio.sleep(2)

            assert [1] == flow.payloads("b")

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("when_full", "kept"), [("drop_oldest", [0, *range(26, 30)]), ("drop_newest", [0, 1, 2, 3, 4])]
)
def test_a_full_buffer_drops_and_counts(when_full: str, kept: list[int]) -> None:
    async def scenario() -> None:
        builder = FlowBuilder().source("a")
        graph = builder.sink("b", "a", buffer={"capacity": 4, "when_full": when_full}).graph()
        async with running(graph) as flow:
            flow.sink("b").gate.clear()
            await flow.feed("a", record(0))
            await asyncio.sleep(1)
            for number in range(1, 30):
                await flow.feed("a", record(number))
                await asyncio.sleep(0.01)
            flow.sink("b").gate.set()
            await asyncio.sleep(1)

            assert kept == flow.payloads("b")
            assert {"buffer_full": 25} == flow.runner.ledger.dropped

    run_virtual(scenario())


def test_a_stalled_sink_stops_the_pump_and_the_journal_keeps_the_rest() -> None:
    async def scenario() -> None:
        async with running(FlowBuilder().source("a").sink("b", "a").graph()) as flow:
            flow.sink("b").gate.clear()
            for start in range(0, 20_000, 1000):
                await flow.feed("a", *[record(number) for number in range(start, start + 1000)])
            await asyncio.sleep(1)
            assert flow.runner.pump.position < 6000
            assert flow.runner.ledger.held == 20_000
            flow.sink("b").gate.set()
            await asyncio.sleep(1)

            assert list(range(20_000)) == flow.payloads("b")

    run_virtual(scenario())


def test_a_transform_with_a_buffer_runs_in_a_stage_of_its_own_and_meets_the_others_in_order() -> None:
    async def scenario() -> None:
        builder = FlowBuilder().source("a").node("slow", Even, "a", buffer={"capacity": 2})
        graph = (
            builder.node("twice", Twice, "a").node("join", Even, "slow", "twice").sink("b", "join").graph()
        )
        async with running(graph, checkpoint_every=0.5) as flow:
            for number in range(100):
                await flow.feed("a", record(number))
            await asyncio.sleep(5)

            assert [number for number in range(0, 100, 2) for _ in range(3)] == flow.payloads("b")

    run_virtual(scenario())
