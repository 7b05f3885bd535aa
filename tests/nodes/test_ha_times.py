"""Times of Home Assistant: the floats of its compressed states and the texts of its other answers are one time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from flowrunner_nodes._ha_states import micros, micros_of, written


@given(st.integers(0, 4_102_444_800_000_000_000))
@example(1_795_466_879_502_442_500)
def test_a_float_is_the_time_that_home_assistant_makes_of_it(nanoseconds: int) -> None:
    seconds = nanoseconds / 1e9

    assert micros_of(datetime.fromtimestamp(seconds, UTC).isoformat()) == micros(seconds)


@given(st.integers(0, 4_102_444_800_000_000))
@example(1_795_466_879_000_000)
@example(1_795_466_879_000_010)
def test_a_time_is_written_as_home_assistant_writes_it(microseconds: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)

    assert moment.isoformat() == written(microseconds)
