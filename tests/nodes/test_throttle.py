"""What `throttle` lets pass, and when."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flowrunner import NANOSECONDS, Context, Message
from flowrunner_nodes.throttle import EXAMPLE, Config, Throttle
from tests.nodes.harness import START, RecordingLog, SetClock, options, run_transform, take_up

TIMELINE = [(0, "a"), (4, "b"), (7, "c"), (12, "d"), (25, "e")]


def at(second: float, payload: Any = None, *, topic: str = "t") -> Message:
    """Return a message that arrives at a second and happened long before."""
    return Message(topic, payload, 5, {"qos": 1}, START + int(second * NANOSECONDS), 1)


def seconds(messages: Sequence[Message]) -> list[tuple[float, Any]]:
    return [((message.clock - START) / NANOSECONDS, message.payload) for message in messages]


def build(**given: Any) -> Throttle:
    return Throttle(options(Throttle, **given), Context("flow", "node", log=RecordingLog(), clock=SetClock()))


def books(node: Throttle) -> tuple[int, int]:
    return node.context.counters.held, node.context.counters.filtered


@pytest.mark.parametrize(
    ("emit", "passed"),
    [
        pytest.param("first", [(0, "a"), (12, "d"), (25, "e")], id="first"),
        pytest.param("last", [(10, "c"), (22, "d"), (35, "e")], id="last"),
        pytest.param("both", [(0, "a"), (10, "c"), (20, "d"), (30, "e")], id="both"),
    ],
)
def test_the_timeline_of_the_reference(emit: str, passed: list[tuple[float, str]]) -> None:
    node = build(every="10s", emit=emit)

    out = node.on_batch([at(second, payload) for second, payload in TIMELINE])
    node.advance(START + 100 * NANOSECONDS, out)

    assert passed == seconds(out)
    assert books(node) == (0, len(TIMELINE) - len(passed))


def test_an_interval_excludes_its_end() -> None:
    out = build(every="10s").on_batch([at(0, "a"), at(9.999, "b"), at(10, "c")])

    assert [(0.0, "a"), (10.0, "c")] == seconds(out)


def test_after_a_quiet_interval_both_lets_the_next_message_pass_at_once() -> None:
    out = build(every="10s", emit="both").on_batch([at(0, "a"), at(5, "b"), at(20, "c")])

    assert [(0.0, "a"), (10.0, "b"), (20.0, "c")] == seconds(out)


def test_a_message_that_waited_is_the_same_but_for_its_place() -> None:
    node = build(every="10s", emit="last")

    out = node.on_batch([at(0, {"x": 1})])
    held = books(node)
    node.advance(START + 10 * NANOSECONDS, out)

    assert held == (1, 0)
    assert [Message("t", {"x": 1}, 5, {"qos": 1}, START + 10 * NANOSECONDS, 0)] == out


def test_keys_do_not_disturb_each_other() -> None:
    batch = [at(0, 1, topic="a"), at(1, 1, topic="b"), at(2, 1.0, topic="a"), at(11, True, topic="b")]

    by_topic = run_transform(Throttle, {"every": "10s", "key": "topic"}, [batch]).out
    by_payload = run_transform(Throttle, {"every": "1h", "key": "payload"}, [batch]).out
    together = run_transform(Throttle, {"every": "1h"}, [batch]).out

    assert [("a", 0.0), ("b", 1.0), ("b", 11.0)] == [
        (m.topic, second) for m, (second, _) in zip(by_topic, seconds(by_topic), strict=True)
    ]
    assert [1, True] == [message.payload for message in by_payload]
    assert [(0.0, 1)] == seconds(together)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param({"id": [1]}, "`key`: [1] is not a string", id="a list"),
        pytest.param({}, "", id="a member that is missing"),
    ],
)
def test_a_message_whose_key_cannot_be_read_fails(payload: Any, reason: str) -> None:
    outcome = run_transform(
        Throttle, {"every": "10s", "key": "payload.id"}, [[at(0, payload), at(1, {"id": 5})]]
    )

    assert [True] == [bool(text) and text.startswith(reason) for text in outcome.reasons]
    assert [{"id": 5}] == outcome.payloads()


@pytest.mark.parametrize("emit", ["first", "last", "both"])
def test_keys_that_are_quiet_are_forgotten(emit: str) -> None:
    node = build(every="10s", key="topic", emit=emit)

    for second in range(1_000):
        node.on_batch([at(second, topic=f"a{second}"), at(second, topic=f"b{second}")])

    pieces = list(node.snapshot())
    closed = sum(len(part) for piece in pieces for part in piece.get("closed", ())[1:])
    waiting = sum(len(piece.get("waiting", ())) for piece in pieces)
    assert closed + waiting <= 2 * 2 * 10 + 2 * 10
    assert len(node.context.timers) == waiting == node.context.counters.held


def restarted(node: Throttle) -> Throttle:
    """Put the state through a checkpoint into a new node."""
    other = Throttle(node.config, Context("flow", "node", log=RecordingLog(), clock=SetClock()))
    take_up(other, node)
    other.context.counters = node.context.counters
    return other


def feed(node: Throttle, batch: Sequence[Message]) -> list[Message]:
    counters = node.context.counters
    counters.received += len(batch)
    out = node.on_batch(batch)
    counters.emitted["out"] = counters.emitted.get("out", 0) + len(out)
    assert counters.balance() == 0
    return out


PAYLOADS = st.sampled_from(["a", 1, 2.5, True, None])
MESSAGES = st.lists(st.tuples(st.integers(0, 9), PAYLOADS), max_size=30)


@given(MESSAGES, st.sampled_from(["first", "last", "both"]), st.data())
def test_however_it_is_cut_it_passes_the_same_and_never_too_much(
    arrivals: list[tuple[int, Any]], emit: str, data: st.DataObject
) -> None:
    second, batch = 0, []
    for pause, payload in arrivals:
        second += pause
        batch.append(at(second, payload))
    batch.append(at(second + 1_000, "the end"))
    given = {"every": "10s", "key": "payload", "emit": emit}
    whole = feed(build(**given), batch)

    node, pieces, rest = build(**given), list[Message](), batch
    while rest:
        cut = data.draw(st.integers(1, len(rest)))
        pieces += feed(node, rest[:cut])
        rest = rest[cut:]
        node = restarted(node)

    assert whole == pieces
    by_key = defaultdict(list)
    for message in whole:
        by_key[repr(message.payload)].append(message.clock)
    for clocks in by_key.values():
        assert all(after - before >= 10 * NANOSECONDS for before, after in itertools.pairwise(clocks))
    if emit != "first":
        for key in {repr(payload) for _, payload in arrivals}:
            last = max(message.clock for message in batch if repr(message.payload) == key)
            assert last <= by_key[key][-1] <= last + 10 * NANOSECONDS


def test_many_keys_let_go_in_slices() -> None:
    node = build(every="10s", key="topic", emit="last")
    node.on_batch([at(0, topic=f"k{number}") for number in range(3_000)])
    out: list[Message] = []

    assert node.advance(START + 10 * NANOSECONDS, out, 1_000) is False
    assert len(out) == 1_000
    assert books(node) == (2_000, 0)


def test_nothing_but_a_length_of_time_is_taken_for_every() -> None:
    with pytest.raises(ValidationError) as caught:
        options(Throttle, every=10)

    assert [("FR031", ("every",))] == [(error["type"], error["loc"]) for error in caught.value.errors()]


def test_the_example_has_valid_options() -> None:
    node = yaml.safe_load(EXAMPLE)["nodes"]["calm"]
    del node["from"]

    assert Config.model_validate(node).every == 10 * NANOSECONDS
