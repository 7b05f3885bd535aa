"""What `delay` holds, and for how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowrunner_nodes.delay import Delay
from tests.nodes.timelines import END, Line, at, seconds


def test_a_message_passes_after_its_time_and_is_otherwise_the_same() -> None:
    line = Line(Delay, by="10s").feed(at(0, "a"), at(4, "b"))

    assert (2, 0) == line.books
    assert [(10.0, "a")] == seconds(line.advance(13).out)
    assert [(10.0, "a"), (14.0, "b")] == seconds(line.advance(14).out)
    assert [("t", 5, {"qos": 1})] * 2 == [(one.topic, one.time, one.meta) for one in line.out]
    assert (0, 0) == line.books


def test_messages_that_came_together_leave_together_in_order() -> None:
    line = Line(Delay, by="10s").feed(at(1, "a"), at(1, "b"), at(2, "c"))

    assert [(11.0, "a"), (11.0, "b")] == seconds(line.advance(11).out)


def test_a_message_sets_free_those_that_are_due_before_it() -> None:
    line = Line(Delay, by="10s").feed(at(0, "a")).feed(at(30, "b"))

    assert [(10.0, "a")] == seconds(line.out)


def test_a_full_queue_refuses_and_says_so() -> None:
    line = Line(Delay, by="10s", capacity=2).feed(*[at(second, second) for second in range(3)])

    assert ["2 messages wait already, as `capacity` allows"] == line.reasons
    assert [0, 1] == [payload for _, payload in seconds(line.advance().out)]


@given(st.lists(st.integers(0, 30), max_size=30).map(sorted), st.sets(st.integers(0, 30)))
def test_a_restart_at_any_place_changes_nothing(arrivals: list[int], restarts: set[int]) -> None:
    line = Line(Delay, by="7s")
    for number, second in enumerate(arrivals):
        if number in restarts:
            line.restart()
        line.feed(at(second, number))
    line.restart().advance(END)

    assert [(second + 7.0, number) for number, second in enumerate(arrivals)] == seconds(line.out)
    assert (0, 0) == line.books
