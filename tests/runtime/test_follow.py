"""Following single messages: what each node made of them, while the flow computes what it always does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from flowrunner import Message
from flowrunner.graph.build import Graph
from flowrunner.runtime.follow import MOST_STATIONS, Follower, Path
from flowrunner.testing import run_virtual
from flowrunner_nodes.aggregate import Aggregate
from flowrunner_nodes.filter import Filter
from flowrunner_nodes.map import Map
from flowrunner_nodes.split import Split
from flowrunner_nodes.throttle import Throttle
from tests.runtime.flows import FlowBuilder, Keep, Running, record, running
from tests.runtime.test_flow import Even


class Begin:
    """Follows every message that leaves a source."""

    def __init__(self, follower: Follower, wires: int) -> None:
        self.paths: list[Path] = []
        self._follower = follower
        self._wires = wires

    def hear(self, port: str, messages: Sequence[Message]) -> None:
        for message in messages:
            self.paths.append(Path(len(self.paths), "a", port, message, self._wires))
            self._follower.begin(self.paths[-1])


def follow(flow: Running) -> list[Path]:
    tap = flow.runner.assembly.outlets["a"].tap
    begin = Begin(tap.follower, len(flow.runner.graph.outputs("a", "out")))
    tap.add(begin)
    return begin.paths


async def walked(
    graph: Graph, *payloads: Any, gap: float = 0.0, at: float = 0.0
) -> list[list[tuple[str, str]]]:
    """Return node and outcome of all stations of each message, and check that all have come to an end."""
    async with running(graph) as flow:
        paths = follow(flow)
        for place, payload in enumerate(payloads):
            await flow.feed("a", record(payload, at=at + place * gap))
        await asyncio.sleep(0.05)
        assert [True] * len(paths) == [path.done for path in paths]
        return [[(station.node, station.outcome) for station in path.stations] for path in paths]


def chain(cls: type[Any], **options: Any) -> Graph:
    return FlowBuilder().source("a").node("n", cls, "a", **options).sink("b", "n").graph()


WRITTEN = [("b", "arrived"), ("b", "written")]


@pytest.mark.parametrize(
    ("cls", "options", "payload", "expected"),
    [
        pytest.param(Filter, {"where": "payload > 1"}, 2, [("n", "passed"), *WRITTEN], id="passed"),
        pytest.param(Filter, {"where": "payload > 1"}, 0, [("n", "filtered")], id="filtered"),
        pytest.param(Filter, {"where": "payload.x"}, 0, [("n", "failed")], id="failed"),
        pytest.param(Map, {"set": {"payload": 7}}, 0, [("n", "changed"), *WRITTEN], id="changed"),
        pytest.param(Split, {}, [1, 2], [("n", "changed"), *WRITTEN, *WRITTEN], id="made-several"),
        pytest.param(Throttle, {"every": "1h"}, 3, [("n", "passed"), *WRITTEN], id="at-once"),
    ],
)
async def test_what_a_node_made_of_a_message(
    cls: type[Any], options: dict[str, Any], payload: Any, expected: list[tuple[str, str]]
) -> None:
    (path,) = await walked(chain(cls, **options), payload)

    assert ("a", "came") == path[0]
    assert sorted(expected) == sorted(path[1:])


async def test_a_fan_out_is_followed_on_all_its_wires() -> None:
    graph = FlowBuilder().source("a").node("n", Even, "a").sink("b", "n").sink("c", "a", "n").graph()
    (path,) = await walked(graph, 2)

    assert sorted(
        [("a", "came"), ("n", "passed"), ("b", "arrived"), ("b", "written"), *[("c", "arrived"), ("c", "written")] * 2]
    ) == sorted(path)  # fmt: skip


def test_a_held_message_is_let_go_and_one_whose_place_is_taken_is_told() -> None:
    async def scenario() -> None:
        graph = chain(Throttle, every="2s", emit="last")
        async with running(graph) as flow:
            paths = follow(flow)
            await flow.feed("a", record("first"), record("second"))
            await asyncio.sleep(0.05)
            held = [(path.stations[-1].outcome, path.done) for path in paths]
            until = paths[1].stations[-1].until
            await asyncio.sleep(5)

            assert [("held", False), ("held", False)] == held
            assert until is not None
            assert ["replaced", "written"] == [path.stations[-1].outcome for path in paths]
            assert [True, True] == [path.done for path in paths]

    run_virtual(scenario())


def test_a_message_is_followed_into_the_result_of_its_window() -> None:
    async def scenario() -> None:
        graph = chain(
            Aggregate, key="topic", window={"type": "tumbling", "size": "1s"}, fields={"sum": "sum(payload)"}
        )
        async with running(graph) as flow:
            paths = follow(flow)
            await flow.feed("a", record(1, "x"), record(2, "x"), record(3, "y"))
            await asyncio.sleep(0.05)
            assert ["held"] * 3 == [path.stations[-1].outcome for path in paths]
            await asyncio.sleep(5)

            assert [["came", "held", "aggregated", "arrived", "written"]] * 3 == [
                [station.outcome for station in path.stations] for path in paths
            ]
            results = [path.stations[2].after[0][1].payload for path in paths]
            assert [{"sum": 3}, {"sum": 3}, {"sum": 3}] == results
            assert ["x", "x", "y"] == [path.stations[2].after[0][1].topic for path in paths]

    run_virtual(scenario())


def test_following_changes_nothing_of_what_a_flow_computes() -> None:
    async def scenario() -> None:
        graph = chain(Throttle, every="1s", emit="both", key="topic")
        kept = []
        for followed in (False, True):
            async with running(graph) as flow:
                if followed:
                    follow(flow)
                await flow.feed("a", *(record(number, str(number % 3)) for number in range(50)))
                await asyncio.sleep(5)
                kept.append(flow.payloads("b"))

        assert kept[0] == kept[1]
        assert 6 == len(kept[0])

    run_virtual(scenario())


async def test_a_path_that_is_ended_is_forgotten() -> None:
    async with running(chain(Throttle, every="1h", emit="last")) as flow:
        paths = follow(flow)
        await flow.feed("a", record(1), record(2))
        await asyncio.sleep(0.05)
        follower = flow.runner.assembly.outlets["n"].tap.follower
        follower.end(paths[0])
        assert 1 == len(follower.followed)
        follower.end(paths[1])

        assert {} == follower.followed
        assert [] == [held for kept in follower._held.values() for held in kept]


async def test_a_message_that_becomes_very_many_is_followed_only_so_far() -> None:
    (path,) = await walked(chain(Split), list(range(3 * MOST_STATIONS)))

    assert MOST_STATIONS < len(path) < 10 * MOST_STATIONS


async def test_what_a_sink_refuses_is_told() -> None:
    class Refuse(Keep):
        async def write(self, batch: Sequence[Message]) -> None:
            for message in batch:
                self.context.fail(message, "no room")

    async with running(chain(Even)) as flow:
        paths = follow(flow)
        sink = flow.sink("b")
        sink.write = Refuse.write.__get__(sink)  # type: ignore[method-assign]
        await flow.feed("a", record(2))
        await asyncio.sleep(0.05)

        assert ("failed", "no room") == (paths[0].stations[-1].outcome, paths[0].stations[-1].reason)
