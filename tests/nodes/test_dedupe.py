"""What `dedupe` takes for a repeat."""

from __future__ import annotations

from typing import Any

import pytest

from flowrunner_nodes.dedupe import Dedupe
from tests.nodes.timelines import Line, at, seconds


def test_a_value_passes_once_within_the_time() -> None:
    line = Line(Dedupe, within="10s").feed(at(0, "a"), at(1, "b"), at(2, "a"), at(9.9, "a"), at(10, "a"))

    assert [(0.0, "a"), (1.0, "b"), (10.0, "a")] == seconds(line.out)
    assert (0, 2) == line.books


def test_what_passes_is_the_same_object() -> None:
    message = at(0, {"id": 1})

    assert Line(Dedupe, within="10s").feed(message).out[0] is message


def test_the_time_counts_from_the_message_that_passed_not_from_its_repeats() -> None:
    line = Line(Dedupe, within="10s").feed(*[at(second, "a") for second in range(0, 25, 4)])

    assert [0.0, 12.0, 24.0] == [second for second, _ in seconds(line.out)]


def test_keys_are_kept_apart() -> None:
    line = Line(Dedupe, within="10s", key="topic").feed(
        at(0, 1, topic="a"), at(1, 1, topic="b"), at(2, 1, topic="a")
    )

    assert ["a", "b"] == [one.topic for one in line.out]


def test_only_what_of_names_is_compared() -> None:
    line = Line(Dedupe, within="10s", of="payload.id")
    line.feed(at(0, {"id": 1, "x": 1}), at(1, {"id": 1, "x": 2}), at(2, {"x": 3}))

    assert [{"id": 1, "x": 1}] == [one.payload for one in line.out]
    assert 1 == len(line.reasons)


@pytest.mark.parametrize(
    ("one", "other", "passed"),
    [
        pytest.param(1, 1.0, 1, id="equal numbers"),
        pytest.param(1, True, 2, id="a number and a bool"),
        pytest.param(1, "1", 2, id="a number and a text"),
        pytest.param({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}, 1, id="mappings in another order"),
        pytest.param([1, 2], [2, 1], 2, id="lists in another order"),
        pytest.param("x" * 100, "x" * 100, 1, id="long texts"),
        pytest.param("x" * 100, "x" * 101, 2, id="long texts that differ"),
    ],
)
def test_what_is_the_same(one: Any, other: Any, passed: int) -> None:
    assert passed == len(Line(Dedupe, within="10s").feed(at(0, one), at(1, other)).out)


def test_a_restart_changes_nothing() -> None:
    line = Line(Dedupe, within="10s").feed(at(0, "a"), at(1, {"b": 2})).restart()

    assert [] == line.feed(at(2, "a"), at(3, {"b": 2})).out[2:]
    assert [(11.0, {"b": 2})] == seconds(line.feed(at(11, {"b": 2})).out[2:])


def test_memory_is_bounded_and_the_oldest_are_forgotten_first() -> None:
    line = Line(Dedupe, within="1d", capacity=10).feed(*[at(second, second) for second in range(100)])

    assert sum(len(young) + len(old) for _, young, old in line.node.snapshot()) <= 10
    assert [] == line.feed(at(100, 99)).out[100:]
    assert [0] == [one.payload for one in line.feed(at(101, 0)).out[100:]]
