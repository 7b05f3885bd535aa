"""What `report` finds worth a report."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flowrunner_nodes.report import Report
from tests.nodes.harness import options
from tests.nodes.timelines import Line, at, seconds


def line(**given: Any) -> Line:
    return Line(Report, value="payload", **given)


def test_the_timeline_of_the_reference() -> None:
    it = line(change=0.5, min_interval="10s", max_interval="1m")

    it.feed(at(0, 20.0), at(5, 20.2), at(8, 21.0), at(30, 21.2)).advance(130)

    assert [(0.0, 20.0), (10.0, 21.0), (70.0, 21.2), (130.0, 21.2)] == seconds(it.out)
    assert [None, None, None, True] == [one.meta.get("repeated") for one in it.out]
    assert [5, 5, 5] == [one.time for one in it.out[:3]]
    assert it.out[3].time == it.out[3].clock
    assert (0, 1) == it.books


@pytest.mark.parametrize(
    ("change", "values", "passed"),
    [
        pytest.param(None, [1, 1.0, 2, 2, 1], [1, 2, 1], id="every other value"),
        pytest.param(None, ["on", "on", "off"], ["on", "off"], id="texts"),
        pytest.param(None, [1, True, None, {"a": 1}, {"a": 1}], [1, True, None, {"a": 1}], id="anything"),
        pytest.param(0.5, [20, 20.4, 20.5, 20.9, 20.0], [20, 20.5, 20.0], id="a number"),
        pytest.param("10%", [100, 109, 110, 100, 99], [100, 110, 99], id="a part"),
        pytest.param("10%", [0, 0, 0.001], [0, 0.001], id="a part of zero"),
    ],
)
def test_how_much_must_change(change: Any, values: list[Any], passed: list[Any]) -> None:
    it = line(change=change).feed(*[at(second, value) for second, value in enumerate(values)])

    assert passed == [one.payload for one in it.out]
    assert (0, len(values) - len(passed)) == it.books


def test_a_change_that_comes_too_early_passes_at_the_end_of_the_interval() -> None:
    it = line(min_interval="10s").feed(at(0, 1), at(3, 2), at(4, 3))

    assert (1, 1) == it.books
    assert [(0.0, 1), (10.0, 3)] == seconds(it.advance().out)


def test_a_change_that_has_gone_at_the_end_of_the_interval_is_forgotten() -> None:
    it = line(min_interval="10s").feed(at(0, 1), at(3, 2), at(4, 1))

    assert [(0.0, 1)] == seconds(it.advance().out)
    assert (0, 2) == it.books


def test_a_silent_key_is_repeated() -> None:
    it = line(max_interval="1m", key="topic").feed(at(0, 1)).advance(200)

    assert [(0.0, 1), (60.0, 1), (120.0, 1), (180.0, 1)] == seconds(it.out)
    assert 3 == it.node.context.counters.created


def test_a_key_that_stays_silent_is_forgotten() -> None:
    it = line(change=5, max_interval="1m", max_repeats=2).feed(at(0, 1), at(90, 2)).advance(1_000)

    assert [(0.0, 1), (60.0, 1), (120.0, 2), (180.0, 2), (240.0, 2)] == seconds(it.out)
    assert 0 == len(it.node.context.timers)
    assert [(1_001.0, 3)] == seconds(it.feed(at(1_001, 3)).out[5:])


def test_keys_do_not_disturb_each_other() -> None:
    it = line(key="topic").feed(at(0, 1, topic="a"), at(1, 1, topic="b"), at(2, 1, topic="a"))

    assert ["a", "b"] == [one.topic for one in it.out]


def test_what_is_no_number_fails_where_a_difference_is_asked_for() -> None:
    it = line(change=0.5).feed(at(0, "warm"), at(1, 20), at(2, "warm"), at(3, 21))

    assert [20, 21] == [one.payload for one in it.out]
    assert ["`value`: 'warm' is not a number"] * 2 == it.reasons


@pytest.mark.parametrize(
    ("given_options", "problem"),
    [
        pytest.param({"change": 0}, "must be more than zero", id="no change"),
        pytest.param({"change": "-5%"}, "must be a number or a part", id="a negative part"),
        pytest.param({"change": "much"}, "must be a number or a part", id="a word"),
        pytest.param({"change": True}, "must be a number or a part", id="a bool"),
        pytest.param({"min_interval": "2m", "max_interval": "1m"}, "less than `min_interval`", id="crossed"),
    ],
)
def test_wrong_options_are_refused(given_options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        options(Report, value="payload", **given_options)


ARRIVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3)), max_size=30).map(sorted)


@given(ARRIVALS, st.data())
def test_batches_and_restarts_change_nothing(arrivals: list[tuple[int, int]], data: st.DataObject) -> None:
    messages = [at(second, value) for second, value in arrivals]
    given_options = {"change": 2, "min_interval": "5s", "max_interval": "20s"}
    whole = line(**given_options).feed(*messages).advance(100)
    cut = line(**given_options)
    for message in messages:
        if data.draw(st.booleans()):
            cut.restart()
        cut.feed(message)
    cut.restart().advance(100)

    assert whole.out == cut.out
    assert whole.books == cut.books
    moments = [one.clock for one in whole.out]
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert all(5 <= gap / 1e9 <= 20 for gap in gaps)
