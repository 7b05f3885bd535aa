"""Why did it (not) arrive: the stream of ways, and what it tells of each node."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from flowrunner import Message
from flowrunner.admin import tap, why
from flowrunner.admin.shown import Shower
from flowrunner.admin.tap import Following, find_place, read_condition
from flowrunner.admin.why import changes
from flowrunner_nodes.filter import Filter
from flowrunner_nodes.map import Map
from tests.admin.harness import Admin, admin
from tests.admin.test_tap import first
from tests.runtime.flows import FlowBuilder


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "PERIOD", 0.01)


def graph() -> Any:
    builder = FlowBuilder("house").source("a").node("twice", Map, "a", set={"payload.n": "=payload.n * 2"})
    return builder.node("big", Filter, "twice", where="payload.n > 10").sink("b", "big").graph()


def follow(process: Admin, node: str, where: str | None = None) -> Following:
    condition = None if where is None else read_condition(where)
    return Following(process.process, find_place(process.process, node), condition)


async def test_the_way_of_a_message_is_told_with_values_and_changes(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process, aclosing(follow(process, "house.a").events()) as events:
        await first(events, 1)
        await process.feed("house", {"n": 4})
        (event,) = await first(events, 1)
        came, twice, big = event["stations"]

        assert ("path", True, {"n": 4}) == (event["kind"], event["done"], came["payload"])
        assert [{"field": "payload.n", "before": 4, "after": 8}] == twice["after"][0]["changes"]
        assert ("filtered", "filter", []) == (big["outcome"], big["type"], big["after"])
        assert [
            {"option": "where", "expression": "payload.n > 10", "value": False, "operands": {"payload.n": 8}}
        ] == big["expressions"]


async def test_a_condition_on_a_source_chooses_what_is_followed(tmp_path: Path) -> None:
    async with (
        admin(tmp_path, graph()) as process,
        aclosing(follow(process, "house.a", "payload.n == 7").events()) as events,
    ):
        await first(events, 1)
        await process.feed("house", *({"n": number} for number in range(20)), {"m": 1})
        (event,) = await first(events, 1)

        assert [{"n": 7}, "written"] == [event["stations"][0]["payload"], event["stations"][-1]["outcome"]]


async def test_of_a_sink_only_the_ways_are_told_that_lead_to_it(tmp_path: Path) -> None:
    async with (
        admin(tmp_path, graph()) as process,
        aclosing(follow(process, "house.b", "payload.n > 20").events()) as events,
    ):
        await first(events, 1)
        for number in (50, 6):
            await process.feed("house", {"n": number})
            await asyncio.sleep(0.05)
        (event,) = await first(events, 1)

        assert [{"n": 50}, {"n": 100}] == [event["stations"][0]["payload"], event["stations"][-1]["payload"]]


async def test_an_expression_that_fails_is_told(tmp_path: Path) -> None:
    async with (
        admin(tmp_path, graph()) as process,
        aclosing(follow(process, "house.twice").events()) as events,
    ):
        await first(events, 1)
        await process.feed("house", {"n": "text"})
        (event,) = await first(events, 1)

        assert "failed" == event["stations"][-1]["outcome"]
        assert "`payload.n * 2`" in event["stations"][-1]["reason"]


async def test_nothing_is_followed_when_nobody_listens(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        process.sink("house").gate.clear()
        async with aclosing(follow(process, "house.a").events()) as events:
            await first(events, 1)
            await process.feed("house", {"n": 20})
            await asyncio.sleep(0.03)
            taps = process.flow("house").storage.taps
            assert (1, True) == (len(taps.at("a").listeners), bool(taps.follower.followed))

        assert (0, {}) == (len(taps.at("a").listeners), taps.follower.followed)
        process.sink("house").gate.set()


async def test_a_message_that_waits_is_told_before_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(why, "STILL", 3)
    async with admin(tmp_path, graph()) as process, aclosing(follow(process, "house.a").events()) as events:
        await first(events, 1)
        process.sink("house").gate.clear()
        await process.feed("house", {"n": 20})
        (waiting,) = await first(events, 1)
        process.sink("house").gate.set()
        (ended,) = await first(events, 1)

        assert ("arrived", False) == (waiting["stations"][-1]["outcome"], waiting["done"])
        assert ("written", True) == (ended["stations"][-1]["outcome"], ended["done"])
        assert waiting["path"] == ended["path"]


async def test_the_oldest_gives_way_when_many_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(why, "LIVE", 1)
    async with admin(tmp_path, graph()) as process, aclosing(follow(process, "house.a").events()) as events:
        await first(events, 1)
        process.sink("house").gate.clear()
        await process.feed("house", {"n": 20}, {"n": 21})
        await asyncio.sleep(0.03)
        assert 1 == len(
            {
                path
                for paths in process.flow("house").storage.taps.follower.followed.values()
                for path in paths
            }
        )
        process.sink("house").gate.set()


BEFORE = Message("t", {"a": 1, "gone": 2, "password": "x"}, 0, {"qos": 1})


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        pytest.param(BEFORE.replace(), [], id="nothing"),
        pytest.param(BEFORE.replace(topic="u"), [{"field": "topic", "before": "t", "after": "u"}], id="topic"),
        pytest.param(
            BEFORE.replace(payload={"a": 2, "password": "y"}),
            [
                {"field": "payload.a", "before": 1, "after": 2},
                {"field": "payload.gone", "before": 2, "after": None},
            ],
            id="fields-and-secrets",
        ),
        pytest.param(BEFORE.replace(meta={"qos": 2}), [{"field": "meta.qos", "before": 1, "after": 2}], id="meta"),
    ],
)  # fmt: skip
def test_changes_are_told_field_by_field(after: Message, expected: list[dict[str, Any]]) -> None:
    shown = changes(BEFORE, after, Shower(graph()))

    assert expected == [change for change in shown if change["field"] != "payload.password"]
    assert {"**********"} >= {
        value
        for change in shown
        if change["field"] == "payload.password"
        for value in list(change.values())[1:]
    }


def test_a_payload_that_is_no_mapping_changes_as_a_whole() -> None:
    assert [{"field": "payload", "before": 1, "after": [2]}] == changes(
        Message("t", 1, 0), Message("t", [2], 0), Shower(graph())
    )
