"""A whole flow in virtual time: what goes in comes out, in order, and the books balance."""

from __future__ import annotations

import asyncio

from flowrunner import RetryLater
from flowrunner.testing import run_virtual
from tests.runtime.flows import FlowBuilder, record, running


def test_messages_go_from_source_to_sink_in_order() -> None:
    async def scenario() -> None:
        graph = FlowBuilder().source("a").sink("b", "a").graph()
        async with running(graph) as flow:
            await flow.feed("a", *[record(number) for number in range(5000)])
            await asyncio.sleep(1)

            assert list(range(5000)) == flow.payloads("b")
            assert flow.runner.ledger.held == 0

    run_virtual(scenario())


def test_a_sink_that_does_not_accept_gets_the_batch_again() -> None:
    async def scenario() -> None:
        graph = FlowBuilder().source("a").sink("b", "a").graph()
        async with running(graph) as flow:
            flow.sink("b").refuse = [RetryLater("503"), RetryLater("503", after=60.0), ValueError("bug")]
            await flow.feed("a", record(1), record(2))
            await asyncio.sleep(200)

            assert flow.payloads("b") == [1, 2]
            counters = flow.runner.assembly.contexts["b"].counters
            assert (counters.written, counters.retries) == (2, 3)

    run_virtual(scenario())
