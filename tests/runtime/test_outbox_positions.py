"""Which entries of an outbox count: against a set of numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowrunner.runtime.outbox.positions import Positions

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), st.integers(0, 3), st.integers(0, 6)),
        st.tuples(st.just("end"), st.sets(st.integers(1, 40), max_size=8), st.just(0)),
        st.tuples(st.just("range"), st.integers(1, 40), st.integers(0, 8)),
        st.tuples(st.just("cut"), st.integers(0, 40), st.just(0)),
    ),
    max_size=20,
)


@given(STEPS)
def test_positions_are_a_set_of_numbers(steps: list[tuple[str, int | set[int], int]]) -> None:
    positions, live = Positions(), set[int]()
    for step, what, count in steps:
        before = len(live)
        if step == "extend" and isinstance(what, int):
            last = positions.last + what + count
            live |= set(range(last - count + 1, last + 1))
            positions.extend(last, count)
        elif step == "cut" and isinstance(what, int):
            live = {number for number in live if number <= what}
            positions.cut(what)
        else:
            ended = range(what, what + count) if isinstance(what, int) else what
            live -= set(ended)
            assert before - len(live) == positions.end(ended)

        assert sorted(live) == list(positions.live(0, 1000))
        assert [n for n in sorted(live) if 5 < n <= 12] == list(positions.live(5, 12))
        assert len(live) == positions.count
        assert positions.done < min(live, default=positions.last + 1)
        assert len(positions.ended) <= len(live)


def test_a_copy_does_not_change() -> None:
    positions = Positions()
    positions.extend(10, 10)
    copy = positions.copy()

    positions.end([1, 3])

    assert Positions(last=10) == copy
    assert Positions(last=10, done=1, ended=[(3, 3)]) == positions
