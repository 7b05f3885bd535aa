"""Taps: what a listener sees of a running flow, and that the flow does not notice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from flowrunner import Message
from flowrunner.runtime.taps import Sampler, Taps
from tests.runtime.flows import FlowBuilder, record, running
from tests.runtime.test_flow import Even


class Ear:
    """A listener that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, object]] = []

    def hear(self, port: str, messages: Sequence[Message]) -> None:
        self.heard += [(port, message.payload) for message in messages]


def messages(count: int, first: int = 0) -> list[Message]:
    return [Message("t", number, 0) for number in range(first, first + count)]


async def test_listeners_hear_what_leaves_a_node_and_what_reaches_a_sink() -> None:
    graph = FlowBuilder().source("a").node("even", Even, "a").sink("b", "even").graph()
    async with running(graph) as flow:
        ears = {name: Ear() for name in ("a", "even", "b")}
        for name, ear in ears.items():
            flow.runner.assembly.outlets[name].tap.add(ear)
        await flow.feed("a", record(1), record(2), record(4))
        await asyncio.sleep(0.05)
        assert [("out", 1), ("out", 2), ("out", 4)] == ears["a"].heard
        assert [("out", 2), ("out", 4)] == ears["even"].heard
        assert [("in", 2), ("in", 4)] == ears["b"].heard

        flow.runner.assembly.outlets["a"].tap.remove(ears["a"])
        await flow.feed("a", record(6))
        await asyncio.sleep(0.05)
        assert (3, 3) == (len(ears["a"].heard), len(ears["even"].heard))


async def test_a_tap_goes_on_over_a_reload() -> None:
    graph = FlowBuilder().source("a").node("even", Even, "a").sink("b", "even").graph()
    async with running(graph) as flow:
        ear = Ear()
        flow.runner.assembly.outlets["a"].tap.add(ear)
        larger = FlowBuilder().source("a").node("even", Even, "a").sink("b", "even").sink("c", "a").graph()
        await flow.runner.replace(larger)
        await flow.feed("a", record(3))
        await asyncio.sleep(0.05)

        assert [("out", 3)] == ear.heard


def test_taps_of_a_node_are_one() -> None:
    taps = Taps()

    assert taps.at("a") is taps.at("a")
    assert taps.at("a") is not taps.at("b")


@pytest.mark.parametrize(
    ("every", "sizes", "expected"),
    [
        pytest.param(1, [3], [0, 1, 2], id="all"),
        pytest.param(3, [7], [0, 3, 6], id="of-one-batch"),
        pytest.param(3, [1] * 7, [0, 3, 6], id="of-single-messages"),
        pytest.param(4, [3, 3, 3], [0, 4, 8], id="across-batches"),
        pytest.param(2, [0, 1, 0, 1, 1], [0, 2], id="empty-batches"),
    ],
)
def test_a_sample_is_every_nth_message_however_they_are_cut(
    every: int, sizes: list[int], expected: list[int]
) -> None:
    sampler, first = Sampler(None, every), 0
    for size in sizes:
        sampler.hear("out", messages(size, first))
        first += size

    assert expected == [message.payload for _, message in sampler.take()]


def test_what_has_no_room_is_counted() -> None:
    sampler = Sampler("out", capacity=3)
    sampler.hear("errors", messages(5))
    sampler.hear("out", messages(2))
    sampler.hear("out", messages(4, 2))

    assert ([0, 1, 2], 3) == ([message.payload for _, message in sampler.take()], sampler.missed)
    assert [] == sampler.take()
