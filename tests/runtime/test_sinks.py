"""The task around a sink: what it does with a sink that refuses, crashes, cannot be opened, or hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from flowrunner import Limits, Message, NodeFailed, NodeOptions, RetryLater, node_type
from flowrunner.testing import run_virtual
from tests.runtime.flows import FlowBuilder, Keep, Running, record, running

Config = NodeOptions


@node_type("stubborn")
class Stubborn(Keep):
    """A sink whose ``open`` fails as often as a test says, and whose ``close`` fails when it says so."""

    refusals: list[Exception] = []  # noqa: RUF012  # shared with the test on purpose
    close_error: Exception | None = None
    wanted = Limits()

    def __init__(self, config: NodeOptions, context: Any) -> None:
        super().__init__(config, context)
        self.opened = 0
        self.closed = 0

    def limits(self) -> Limits:
        return self.wanted

    async def open(self) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1
        if self.close_error is not None:
            raise self.close_error


@pytest.fixture(autouse=True)
def _as_it_was() -> Any:
    yield
    Stubborn.refusals, Stubborn.close_error, Stubborn.wanted = [], None, Limits()


GRAPH = FlowBuilder().source("a").node("b", Stubborn, "a").graph()


def _status(flow: Running) -> tuple[str, str | None]:
    context = flow.runner.assembly.contexts["b"]
    return context.status, context.reason


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError("no route"), ("degraded", "cannot be opened: no route")),
        (NodeFailed("no such table"), ("failed", "cannot be opened: no such table")),
        (RetryLater("starting up"), ("degraded", "starting up")),
        (RetryLater("wrong token", operator=True), ("failed", "wrong token")),
    ],
)
def test_a_sink_that_cannot_be_opened_is_tried_again_though_no_message_comes(
    error: Exception, status: tuple[str, str]
) -> None:
    Stubborn.refusals = [error, error, error]

    async def scenario() -> None:
        async with running(GRAPH, checkpoint_every=1.0) as flow:
            await asyncio.sleep(0.001)
            assert status == _status(flow)
            await asyncio.sleep(200)

            assert ("running", None) == _status(flow)

    run_virtual(scenario())


def test_a_checkpoint_does_not_wait_for_a_sink_that_has_nothing_to_write() -> None:
    Stubborn.refusals = [OSError("down")] * 1000

    async def scenario() -> None:
        builder = FlowBuilder().source("a").node("b", Stubborn, "a.errors").sink("c", "a")
        async with running(builder.graph(), checkpoint_every=1.0) as flow:
            await flow.feed("a", record(1))
            await asyncio.sleep(3)

            assert flow.runner.checkpointer.age < 3

    run_virtual(scenario())


def test_messages_wait_for_a_sink_that_cannot_be_opened() -> None:
    Stubborn.refusals = [OSError("down")] * 5

    async def scenario() -> None:
        async with running(GRAPH) as flow:
            await flow.feed("a", record(1), record(2))
            await asyncio.sleep(400)

            assert [1, 2] == flow.payloads("b")

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("bug"), ("degraded", "crashed: ValueError: bug")),
        (NodeFailed("no permission"), ("failed", "no permission")),
        (RetryLater("503"), ("degraded", "503")),
        (RetryLater("401", operator=True), ("failed", "401")),
    ],
)
def test_a_write_that_fails_is_reported_and_made_again(error: Exception, status: tuple[str, str]) -> None:
    async def scenario() -> None:
        async with running(GRAPH) as flow:
            flow.sink("b").refuse = [error]
            await flow.feed("a", record(1))
            await asyncio.sleep(0.001)
            assert status == _status(flow)
            assert flow.runner.ledger.held == 1
            await asyncio.sleep(120)

            assert ([1], ("running", None)) == (flow.payloads("b"), _status(flow))

    run_virtual(scenario())


def test_a_sink_that_crashed_is_closed_and_opened_again_even_when_closing_fails() -> None:
    Stubborn.close_error = OSError("already closed")

    async def scenario() -> None:
        async with running(GRAPH) as flow:
            sink = flow.sink("b")
            assert isinstance(sink, Stubborn)
            sink.refuse = [ValueError("bug"), ValueError("bug")]
            await flow.feed("a", record(1))
            await asyncio.sleep(60)

            assert ([1], 3, 2) == (flow.payloads("b"), sink.opened, sink.closed)

    run_virtual(scenario())


def _writes(flow: Running, *outcomes: Any) -> list[list[Any]]:
    """Let the sink do one outcome a write: a function of the batch; return the payloads of each write."""
    sink, calls = flow.sink("b"), list[list[Any]]()

    async def write(batch: Sequence[Message]) -> None:
        calls.append([message.payload for message in batch])
        outcomes[len(calls) - 1](sink.context, batch)

    sink.write = write  # type: ignore[method-assign]
    return calls


def _fail_first_and_refuse(context: Any, batch: Sequence[Message]) -> None:
    context.fail(batch[0], "bad")
    raise RetryLater("503")


def _drop_first_and_crash(context: Any, batch: Sequence[Message]) -> None:
    context.counters.drop("not_a_number")
    raise ValueError("bug")


def _drop_first(context: Any, batch: Sequence[Message]) -> None:
    context.counters.drop("not_a_number")


def _accept(context: Any, batch: Sequence[Message]) -> None:
    pass


def test_a_message_that_failed_is_not_written_again_with_the_rest() -> None:
    async def scenario() -> None:
        async with running(GRAPH) as flow:
            calls = _writes(flow, _fail_first_and_refuse, _accept)
            await flow.feed("a", record(1), record(2), record(3))
            await asyncio.sleep(30)

            counters = flow.runner.assembly.contexts["b"].counters
            assert [[1, 2, 3], [2, 3]] == calls
            assert (2, 1, 1) == (counters.written, counters.dead_lettered, counters.errors)

    run_virtual(scenario())


def test_what_a_sink_dropped_before_it_crashed_is_counted_once() -> None:
    async def scenario() -> None:
        async with running(GRAPH) as flow:
            calls = _writes(flow, _drop_first_and_crash, _drop_first)
            await flow.feed("a", record(1), record(2))
            await asyncio.sleep(30)

            counters = flow.runner.assembly.contexts["b"].counters
            assert [[1, 2], [1, 2]] == calls
            assert (1, {"not_a_number": 1}) == (counters.written, counters.dropped)

    run_virtual(scenario())


def test_the_last_messages_are_those_that_the_world_has_accepted() -> None:
    async def scenario() -> None:
        async with running(GRAPH) as flow:
            _writes(flow, _fail_first_and_refuse, _accept)
            await flow.feed("a", *[record(number) for number in range(4)])
            await asyncio.sleep(30)

            assert [1, 2, 3] == [message.payload for message in flow.runner.assembly.sinks["b"].last]
            assert 4 - 1 == sum(flow.runner.latency.counts)

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("wanted", "sizes"),
    [
        (Limits(max_messages=2), [2, 2, 1]),
        (Limits(max_messages=100, max_age=5.0), [5]),
        (Limits(max_messages=3, max_age=5.0), [3, 2]),
    ],
)
def test_batches_are_as_large_and_as_old_as_the_sink_wants(wanted: Limits, sizes: list[int]) -> None:
    Stubborn.wanted = wanted
    Stubborn.refusals = [OSError("not yet")]

    async def scenario() -> None:
        async with running(GRAPH) as flow:
            await asyncio.sleep(5)
            calls = _writes(flow, *[_accept] * 5)
            await flow.feed("a", record(1), record(2))
            await asyncio.sleep(0 if wanted.max_age == 0 else 1)
            await flow.feed("a", record(3), record(4), record(5))
            await asyncio.sleep(20)

            assert sum(sizes) == sum(len(call) for call in calls)
            assert max(sizes) == max(len(call) for call in calls)
            assert [1, 2, 3, 4, 5] == [payload for call in calls for payload in call]

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("when_full", "sibling", "held", "written", "dropped"),
    [
        pytest.param("block", 9, 100, range(100), {}, id="block"),
        pytest.param("drop_oldest", 100, 9, [0, *range(92, 100)], {"buffer_full": 91}, id="drop_oldest"),
        pytest.param("drop_newest", 100, 9, range(9), {"buffer_full": 91}, id="drop_newest"),
    ],
)
def test_when_full_decides_what_a_stalled_sink_means_to_its_siblings(
    when_full: str, sibling: int, held: int, written: Sequence[int], dropped: dict[str, int]
) -> None:
    builder = FlowBuilder().source("a").sink("up", "a", buffer={"capacity": 4})
    graph = builder.sink("down", "a", buffer={"capacity": 8, "when_full": when_full}).graph()

    async def scenario() -> None:
        async with running(graph) as flow:
            flow.sink("down").gate.clear()
            for number in range(100):
                await flow.feed("a", record(number))
                await asyncio.sleep(0.01)
                assert flow.runner.ledger.balance == 0
            assert list(range(100))[:sibling] == flow.payloads("up")
            assert dropped == flow.runner.ledger.dropped
            assert held == flow.runner.ledger.held

            flow.sink("down").gate.set()
            await asyncio.sleep(5)
            assert list(written) == flow.payloads("down")
            assert list(range(100)) == flow.payloads("up")
            assert (0, 0) == (flow.runner.ledger.held, flow.runner.ledger.balance)

    run_virtual(scenario())
