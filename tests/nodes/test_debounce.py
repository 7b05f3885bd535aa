"""What `debounce` lets pass, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flowrunner_nodes.debounce import Debounce
from tests.nodes.harness import options
from tests.nodes.timelines import Line, at, seconds


def test_the_last_message_passes_when_its_key_has_been_quiet() -> None:
    line = Line(Debounce, quiet="5s").feed(at(0, "a"), at(3, "b"), at(6, "c"))

    assert (1, 2) == line.books
    assert [] == line.advance(10.9).out
    assert [(11.0, "c")] == seconds(line.advance(11).out)
    assert ("t", 5, {"qos": 1}) == (line.out[0].topic, line.out[0].time, line.out[0].meta)
    assert (0, 2) == line.books


def test_keys_do_not_disturb_each_other() -> None:
    line = Line(Debounce, quiet="5s", key="topic").feed(at(0, 1, topic="a"), at(4, 2, topic="b"))

    assert [(5.0, 1), (9.0, 2)] == seconds(line.advance().out)


def test_a_key_that_is_never_quiet_passes_after_the_longest_wait() -> None:
    line = Line(Debounce, quiet="5s", max_wait="12s").feed(
        *[at(second, second) for second in range(0, 40, 4)]
    )

    assert [(12.0, 8), (24.0, 20), (36.0, 32)] == seconds(line.out)
    assert [(41.0, 36)] == seconds(line.advance().out[3:])


def test_a_key_that_cannot_be_read_fails() -> None:
    line = Line(Debounce, quiet="5s", key="payload.id").feed(at(0, {"id": [1]}))

    assert [True] == [reason.startswith("`key`: [1] is not a string") for reason in line.reasons]


def test_the_longest_wait_is_not_shorter_than_the_quiet_time() -> None:
    with pytest.raises(ValidationError, match="`max_wait` is less than `quiet`"):
        options(Debounce, quiet="5s", max_wait="4s")


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from("xy")), max_size=30), st.data())
def test_batches_and_restarts_change_nothing(arrivals: list[tuple[int, str]], data: st.DataObject) -> None:
    messages = [at(second, second, topic=topic) for second, topic in sorted(arrivals)]
    whole = Line(Debounce, quiet="3s", max_wait="8s", key="topic").feed(*messages).advance()
    cut = Line(Debounce, quiet="3s", max_wait="8s", key="topic")
    for message in messages:
        if data.draw(st.booleans()):
            cut.restart()
        cut.feed(message)
    cut.advance()

    assert whole.out == cut.out
    assert len(messages) == len(cut.out) + cut.books[1]
