"""The books of a flow balance at any moment, not only at the end."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from flowrunner import RetryLater
from flowrunner.graph.build import Graph
from flowrunner.runtime import stage
from flowrunner.testing import run_virtual
from tests.runtime.flows import FlowBuilder, Running, record, running
from tests.runtime.test_determinism import TYPES
from tests.runtime.test_flow import Even, Later, Twice


def _random_graph(dice: random.Random) -> Graph:
    """Fan-outs, fan-ins, diamonds, channels of one with every policy, sinks behind the errors of sinks."""
    builder = FlowBuilder()
    sources = [f"a{number}" for number in range(dice.randint(1, 2))]
    for name in sources:
        builder.source(name)
    outputs = list(sources)
    for number in range(dice.randint(0, 5)):
        inputs = dice.sample(outputs, dice.randint(1, min(3, len(outputs))))
        builder.node(f"n{number}", dice.choice(TYPES), *inputs, **_buffer(dice))
        outputs.append(f"n{number}")
        if dice.random() < 0.3:
            outputs.append(f"n{number}.errors")
    for number in range(dice.randint(1, 3)):
        inputs = dice.sample(outputs, dice.randint(1, min(3, len(outputs))))
        builder.sink(f"s{number}", *inputs, **_buffer(dice))
        if dice.random() < 0.4:
            outputs.append(f"s{number}.errors")
    return builder.graph()


def _buffer(dice: random.Random) -> dict[str, Any]:
    if dice.random() < 0.5:
        return {}
    when_full = dice.choice(["block", "block", "drop_oldest", "drop_newest"])
    return {"buffer": {"capacity": 1, "when_full": when_full}}


async def _trouble(flow: Running, dice: random.Random) -> None:
    """Stall and fail the sinks at random, for ever."""
    sinks = [flow.sink(name) for name in flow.runner.assembly.sinks]
    for sink in sinks:
        inner = sink.write

        async def write(batch: Any, sink: Any = sink, inner: Any = inner) -> None:
            if dice.random() < 0.1:
                for message in batch[: dice.randint(0, len(batch))]:
                    sink.context.fail(message, "no")
                if dice.random() < 0.3:
                    raise RetryLater("some failed, the rest later")
            await inner(batch)

        sink.write = write  # type: ignore[method-assign]
    while True:
        sink = dice.choice(sinks)
        sink.gate.clear()
        sink.refuse = dice.choice([[], [RetryLater("503", after=0.2)], [ValueError("bug")]])
        await asyncio.sleep(dice.uniform(0, 2))
        sink.gate.set()
        await asyncio.sleep(dice.uniform(0, 1))


async def _watch(flow: Running) -> int:
    """Look at the books at every turn of the loop that the flow takes, for ever."""
    looks = 0
    while True:
        books = flow.runner.ledger
        assert books.balance == 0, books
        assert books.held >= 0
        looks += 1
        await asyncio.sleep(0 if looks % 20 else 0.2)


@pytest.mark.parametrize("block", range(10))
def test_random_graphs_under_random_trouble_neither_lock_up_nor_lose_a_message(block: int) -> None:
    async def scenario(dice: random.Random) -> None:
        graph = _random_graph(dice)
        async with running(graph, checkpoint_every=0.3) as flow:
            others = [asyncio.create_task(_watch(flow)), asyncio.create_task(_trouble(flow, dice))]
            for _ in range(dice.randint(1, 12)):
                source = dice.choice(list(flow.runner.assembly.sources))
                payloads = [dice.choice([0, 1, 2, 3, 4]) for _ in range(dice.randint(1, 30))]
                flow.feed(source, *map(record, payloads))
                await asyncio.sleep(dice.choice([0, 0.01, 0.4]))
            others[1].cancel()
            for name in flow.runner.assembly.sinks:
                flow.sink(name).gate.set()
            async with asyncio.timeout(2000):
                while flow.runner.ledger.held:
                    await asyncio.sleep(1)
            assert not others[0].done(), others[0]
            others[0].cancel()

    for number in range(30):
        run_virtual(scenario(random.Random(block * 1000 + number)))


def test_the_books_balance_between_two_slices_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "PATIENCE_NS", 0)  # yield after every slice

    async def scenario() -> None:
        builder = FlowBuilder().source("a").node("two", Twice, "a").node("four", Twice, "two")
        builder.node("later", Later, "four").node("even", Even, "later").sink("s", "even", "four")
        async with running(builder.graph()) as flow:
            watch = asyncio.create_task(_watch(flow))
            await flow.feed("a", *[record(number) for number in range(3000)])
            await asyncio.sleep(15)
            watch.cancel()
            with pytest.raises(asyncio.CancelledError):
                await watch

            assert 12_000 + 6_000 == len(flow.sink("s").kept)

    run_virtual(scenario())
