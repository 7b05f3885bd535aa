"""The route `/api/v1/tap`: what is sent, what is refused, what is hidden and what is cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from flowrunner import Message, NodeOptions, Secret
from flowrunner.admin import tap
from flowrunner.admin.seats import Seats
from flowrunner.admin.shown import Shower, options
from flowrunner.admin.tap import Event, Listening, encode, find_place, read_condition
from flowrunner.runtime.taps import Sampler
from tests.admin.harness import Admin, admin, graph
from tests.runtime.flows import FlowBuilder


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "PERIOD", 0.01)


def listen(process: Admin, node: str, where: str | None = None, sample: int = 1) -> Listening:
    condition = None if where is None else read_condition(where)
    return Listening(process.process, find_place(process.process, node), condition, sample)


async def first(events: AsyncIterator[Event | None], count: int) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(5):
        async for event in events:
            found += [] if event is None else [event]
            if len(found) == count:
                break
    return found


async def test_messages_are_sent_as_they_pass(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process, aclosing(listen(process, "house.n").events()) as events:
        assert [{"kind": "listening", "flow": "house", "node": "n", "port": None}] == await first(events, 1)
        await process.feed("house", 1, 2)
        (message,) = await first(events, 1)

        assert ("message", "n", "out", "t", 2, 2, {}) == tuple(
            message[name] for name in ("kind", "node", "port", "topic", "payload", "seq", "meta")
        )
        assert str(message["time"]).startswith("20")


async def test_a_condition_chooses_and_its_failures_are_told(tmp_path: Path) -> None:
    async with (
        admin(tmp_path, graph()) as process,
        aclosing(listen(process, "house.a.out", "payload.t > 20").events()) as events,
    ):
        await first(events, 1)
        await process.feed("house", {"t": 19}, {"t": 21}, {"u": 1}, {"u": 2})
        message, failed = await first(events, 2)

        assert {"t": 21} == message["payload"]
        assert {"kind": "failed", "count": 2, "reason": "`payload.t`: there is no field `t`"} == failed


async def test_more_than_can_be_read_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "MOST", 2)
    async with admin(tmp_path, graph()) as process, aclosing(listen(process, "house.a").events()) as events:
        await first(events, 1)
        await process.feed("house", *range(10))
        *sent, missed = await first(events, 3)

        assert ([0, 1], {"kind": "missed", "count": 8}) == ([one["payload"] for one in sent], missed)


async def test_a_listener_that_leaves_costs_nothing_any_more(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        place = process.flow("house").storage.taps.at("a")
        async with aclosing(listen(process, "house.a").events()) as events:
            await first(events, 1)
            assert 1 == len(place.listeners)

        assert [] == list(place.listeners)


async def test_the_stream_ends_with_the_flow(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process, aclosing(listen(process, "house.a").events()) as events:
        await first(events, 1)
        await process.supervisor.remove("house")

        assert [{"kind": "end", "reason": "flow `house` was removed or started anew"}] == await first(
            events, 1
        )


async def test_the_stream_ends_with_the_node_and_with_the_process(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        smaller = FlowBuilder("house").source("a").sink("b", "a").graph()
        async with (
            aclosing(listen(process, "house.n").events()) as of_node,
            aclosing(listen(process, "house.b").events()) as of_sink,
        ):
            await first(of_node, 1)
            await first(of_sink, 1)
            await process.supervisor.replace(smaller)
            assert [{"kind": "end", "reason": "node `n` was removed"}] == await first(of_node, 1)
            process.process.stopping = True
            assert [{"kind": "end", "reason": "flowrunner is stopping"}] == await first(of_sink, 1)


async def test_silence_is_broken_by_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "QUIET", 0.02)
    async with admin(tmp_path, graph()) as process:
        for lines, expected in ((True, b"\n"), (False, b":\n\n")):
            seats = Seats(1)
            stream = encode(listen(process, "house.a").events(), seats, seats.take(), lines=lines)
            async with aclosing(stream) as written:
                about = await anext(written)
                assert "listening" == json.loads(about.removeprefix(b"data: "))["kind"]
                assert (expected, True) == (await anext(written), seats.full())
            assert not seats.full()


@pytest.mark.parametrize(
    ("query", "status", "problem", "help"),
    [
        pytest.param(
            "node=hose.a", 404, "no flow `hose` is running", "did you mean `house`?", id="flow-misspelt"
        ),
        pytest.param("node=x", 404, "no flow `x` is running", "there are: house", id="flow-unknown"),
        pytest.param(
            "node=house", 404, "flow `house` has no node ``",
            "there are: house.a, house.n, house.later, house.b", id="no-node",
        ),
        pytest.param(
            "node=house.latr", 404, "flow `house` has no node `latr`", "did you mean `house.later`?", id="node"
        ),
        pytest.param(
            "node=house.b.out", 404, "node `b` has no port `out`", "there are: house.b.in, house.b.errors",
            id="port-of-a-sink",
        ),
        pytest.param(
            "node=house.n.errors", 404,
            "nothing is wired to the port `errors` of `n`: its failed messages are dead letters",
            "see them with: flowrunner dead-letters list", id="errors-unwired",
        ),
    ],
)  # fmt: skip
async def test_a_wrong_place_is_refused_with_what_was_meant(
    query: str, status: int, problem: str, help: str, tmp_path: Path
) -> None:
    async with admin(tmp_path, graph()) as process:
        answer = await process.get(f"/api/v1/tap?{query}")

        assert (status, {"problem": problem, "help": help}) == (answer.status_code, answer.json()["detail"])


async def test_a_wrong_condition_is_refused_with_its_place(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        answer = await process.get("/api/v1/tap?node=house.a&where=payload.t %3E payloed")

        assert 422 == answer.status_code
        assert {
            "problem": "there is no name `payloed`",
            "help": "did you mean `payload`?",
            "offset": 12,
            "length": 7,
        } == answer.json()["detail"]


async def test_listeners_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "TAPS", 0)
    async with admin(tmp_path, graph()) as process:
        answer = await process.get("/api/v1/tap?node=house.a")

        assert (503, "10") == (answer.status_code, answer.headers["retry-after"])


async def test_beyond_this_machine_a_token_is_needed(tmp_path: Path) -> None:
    async with admin(tmp_path, graph()) as process:
        answer = await process.get("/api/v1/tap?node=house.a", token="t0ken", local=False)

        assert 401 == answer.status_code


class Locked(NodeOptions):
    """Options with secrets in several places."""

    token: Secret = SecretStr("s3cret-token")
    by_name: dict[str, Secret]


def shower() -> Shower:
    built = FlowBuilder().source("a").graph()
    node = built.nodes["a"]
    built.nodes["a"] = type(node)(node.id, node.type, Locked(type="x", by_name={}), node.ports)
    return Shower(built)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        pytest.param({"t": 1.5, "on": True, "x": None}, {"t": 1.5, "on": True, "x": None}, id="as-it-is"),
        pytest.param("with s3cret-token in it", "with ********** in it", id="secret-of-the-flow"),
        pytest.param({"s3cret-token": 1}, {"**********": 1}, id="secret-as-a-name"),
        pytest.param(
            {"password": "a", "api_key": "b", "wifi-pwd": "c", "tokens": 3},
            {"password": "**********", "api_key": "**********", "wifi-pwd": "**********", "tokens": 3},
            id="named-like-a-secret",
        ),
        pytest.param("x" * 500, "x" * 400 + "…", id="long-text"),
        pytest.param(list(range(50)), [*range(40), "… 10 more"], id="long-list"),
        pytest.param(
            {str(n): n for n in range(50)}, {**{str(n): n for n in range(40)}, "…": "10 more"}, id="wide"
        ),
        pytest.param([[[[[[[[1]]]]]]]], [[[[[["…"]]]]]], id="deep"),
        pytest.param({1: b"ab"}, {"1": "b'ab'"}, id="no-json"),
    ],
)
def test_a_payload_is_shown_short_and_without_secrets(payload: Any, expected: Any) -> None:
    assert expected == shower().value(payload)


def test_a_payload_of_many_values_is_cut() -> None:
    shown = shower().value([[0] * 40] * 40)

    assert isinstance(shown, list)
    assert len(shown) < 10


def test_every_message_is_shown_with_the_same_measure() -> None:
    made = shower()
    message = Message("t", [[0] * 30] * 4, 0)

    assert made.message(message) == made.message(message)


def test_options_are_shown_as_written_without_secrets() -> None:
    config = Locked(
        type="x", token=SecretStr("abc"), by_name={"one": SecretStr("def")}, buffer={"capacity": 3}
    )

    assert {
        "type": "x",
        "token": "**********",
        "by_name": {"one": "**********"},
        "buffer": {"capacity": 3},
    } == options(config, shower())


def test_a_sampler_of_a_port_hears_no_other() -> None:
    sampler = Sampler("out")
    sampler.hear("in", [Message("t", 1, 0)])

    assert [] == sampler.take()
