"""What is kept of values: joined, limited, estimated, saved."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec
import pytest

from flowrunner_nodes import _distributions, _series
from flowrunner_nodes._accumulators import Accumulator, Direction, Ends, Spread, Summary
from flowrunner_nodes._distributions import EXACT_VALUES, Quantiles, Tally
from flowrunner_nodes._fading import FadingDict
from flowrunner_nodes._keys import UnfitError, key_value, number, plain, same, to_key
from flowrunner_nodes._series import MOST_SAMPLES, Area, Growth

ACCUMULATORS = [Summary, Spread, Direction, Ends, Quantiles, Tally, Area, Growth]


def fill[A: Accumulator](accumulator: A, samples: list[tuple[Any, int]]) -> A:
    for value, time in samples:
        accumulator.add(value, time)
    return accumulator


@pytest.mark.parametrize("kind", ACCUMULATORS)
def test_an_accumulator_survives_a_checkpoint(kind: type[Any]) -> None:
    before = fill(kind(), [(2.5, 3), (1.5, 7), (2.5, 5)])

    after = msgspec.convert(msgspec.msgpack.decode(msgspec.msgpack.encode(before)), kind)

    assert before == fill(after, [])
    assert fill(before, [(1.0, 6)]) == fill(after, [(1.0, 6)])


@pytest.mark.parametrize("kind", ACCUMULATORS)
def test_an_accumulator_is_left_as_it_is_by_the_one_that_takes_it_in(kind: type[Any]) -> None:
    later = fill(kind(), [(2.5, 30), (1.5, 20)])
    saved = msgspec.msgpack.encode(later)

    fill(kind(), [(1.0, 5)]).merge(later)

    assert saved == msgspec.msgpack.encode(later)


def test_large_values_close_together_have_an_exact_deviation() -> None:
    spread = fill(Spread(), [(1e9 + value, 0) for value in (4.0, 7.0, 13.0, 16.0)])

    assert math.sqrt(30.0) == spread.deviation()


def test_nothing_joined_with_nothing_has_no_deviation() -> None:
    spread = Spread()

    spread.merge(Spread())

    assert spread == Spread()
    assert spread.deviation() is None


@pytest.mark.parametrize(
    ("angles", "mean"),
    [
        pytest.param([350.0, 10.0], 0.0, id="around north"),
        pytest.param([350.0, 20.0], 5.0, id="past north"),
        pytest.param([-90.0], 270.0, id="below zero"),
        pytest.param([725.0], 5.0, id="twice around"),
        pytest.param([0.0, 180.0], None, id="opposite"),
        pytest.param([0.0, 120.0, 240.0], None, id="all around"),
    ],
)
def test_the_mean_of_angles_is_an_angle(angles: list[float], mean: float | None) -> None:
    found = fill(Direction(), [(angle, 0) for angle in angles]).mean(len(angles))

    assert (found is None) is (mean is None)
    assert mean is None or math.isclose(mean, found or 0.0, abs_tol=1e-9)
    assert found is None or 0.0 <= found < 360.0


def test_an_angle_just_below_zero_is_not_360() -> None:
    assert 0.0 == fill(Direction(), [(-1e-15, 0)]).mean(1)


@pytest.mark.parametrize(
    ("count", "exact"),
    [pytest.param(EXACT_VALUES, True, id="few"), pytest.param(EXACT_VALUES + 1, False, id="many")],
)
def test_quantiles_are_exact_for_few_values(count: int, exact: bool) -> None:
    quantiles = fill(Quantiles(), [(float(value), 0) for value in range(count)])

    assert exact is not bool(quantiles.digest)
    assert (count - 1) / 2 == pytest.approx(quantiles.quantile(0.5), rel=0 if exact else 0.01)


@pytest.mark.parametrize("parts", [1, 7])
def test_quantiles_of_many_values_are_near_the_true_ones(parts: int) -> None:
    values = random.Random(7).choices(range(10_000), k=20_000)
    whole = Quantiles()
    for part in range(parts):
        whole.merge(fill(Quantiles(), [(float(value), 0) for value in values[part::parts]]))

    found = [whole.quantile(q) for q in (0.0, 0.01, 0.5, 0.99, 1.0)]

    assert [min(values), 100, 5_000, 9_900, max(values)] == pytest.approx(found, abs=150)
    assert [min(values), max(values)] == [found[0], found[-1]]


def test_a_few_values_are_joined_with_an_estimate() -> None:
    many = fill(Quantiles(), [(float(value), 0) for value in range(2_000)])

    many.merge(fill(Quantiles(), [(5_000.0, 0)]))

    assert 5_000.0 == many.quantile(1)
    assert b"" == bytes(many.values)


def test_many_small_parts_become_an_estimate_when_joined() -> None:
    whole = Quantiles()

    for part in range(10):
        whole.merge(fill(Quantiles(), [(float(part * 100 + value), 0) for value in range(100)]))

    assert whole.digest
    assert 500 == pytest.approx(whole.quantile(0.5), abs=20)


@pytest.mark.parametrize(
    ("samples", "mode", "distinct"),
    [
        pytest.param([("on", 1), ("off", 2), ("on", 3)], "on", 2, id="the most frequent"),
        pytest.param([("b", 2), ("a", 1)], "a", 2, id="of two the first in time"),
        pytest.param(
            [("a", 5), ("b", 3), ("a", 3), ("b", 5)], "b", 2, id="of two at one time the first to come"
        ),
        pytest.param([(1, 1), (1.0, 2), (True, 3)], 1, 2, id="1 is 1.0 and not true"),
        pytest.param([(True, 1), (False, 2), (True, 3)], True, 2, id="bools"),
        pytest.param([(None, 1)], None, 1, id="null"),
    ],
)
def test_values_are_counted_as_cel_compares_them(
    samples: list[tuple[Any, int]], mode: Any, distinct: int
) -> None:
    tally = fill(Tally(), samples)

    assert (mode, type(mode)) == (tally.mode(), type(tally.mode()))
    assert distinct == len(tally.counts)


def test_there_is_an_end_to_different_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_distributions, "MOST_VALUES", 2)
    tally = fill(Tally(), [("a", 1), (True, 2)])

    assert "there are already 2 different values in this window" == tally.refusal("b", 3)
    assert [None, None] == [tally.refusal("a", 3), tally.refusal(True, 3)]
    assert tally.refusal(1, 3) is not None


@pytest.mark.parametrize("kind", [Summary, Spread, Direction, Ends, Quantiles])
def test_the_other_accumulators_have_no_limit(kind: type[Any]) -> None:
    assert kind().refusal(1.0, 0) is None
    assert kind.limited is False


def test_a_long_series_is_folded_and_gives_the_same_area() -> None:
    order = random.Random(3)
    samples = [(float(at % 7), at + order.choice([0, 0, 0, 2_500, -2_500])) for at in range(0, 90_000, 10)]
    area = Area()
    for value, time in samples:
        assert area.refusal(value, time) is None
        area.add(value, time)

    ordered = sorted(samples, key=lambda sample: sample[1])
    ends = [time for _, time in ordered[1:]] + [100_000]
    want = sum(value * (end - time) for (value, time), end in zip(ordered, ends, strict=True))
    assert want == area.within(-5_000, 100_000, None)[0]
    assert len(area.samples) == 0


def test_a_sample_whose_neighbours_are_folded_is_refused() -> None:
    growth = fill(Growth(), [(1.0, time) for time in range(MOST_SAMPLES)])

    assert growth.refusal(1.0, MOST_SAMPLES // 2) is None
    reason = growth.refusal(1.0, MOST_SAMPLES // 2 - 2)
    assert f"it is out of order by more than {MOST_SAMPLES // 2} messages of its key" == reason


def test_a_folded_series_can_be_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_series, "_LIMIT", 4 * 16)
    whole = Growth()

    for part in range(3):
        whole.merge(fill(Growth(), [(float(part * 10 + step), part * 10 + step) for step in range(6)]))

    assert 25.0 == whole.since(None, 18)
    assert 27.0 == whole.since(-2.0, 18)


def test_a_faded_entry_is_forgotten_and_a_fresh_one_is_not() -> None:
    fading: FadingDict[str, int] = FadingDict(10)
    for now, key in [(0, "a"), (9, "b"), (10, "c"), (19, "d")]:
        fading.set(key, now, now=now)
    assert [0, 9, 10, 19] == [fading.get(key) for key in "abcd"]

    fading.set("e", 20, now=20)

    assert [None, None, 10, 19, 20] == [fading.get(key) for key in "abcde"]
    fading.set("f", 100, now=100)
    assert [None, None, None, 100] == [fading.get(key) for key in "cdef"]


def test_a_mapping_of_a_million_keys_holds_as_many_as_it_may() -> None:
    fading: FadingDict[int, int] = FadingDict(10, capacity=1_000)

    for key in range(1_000_000):
        fading.set(key, key, now=0)

    assert len(fading) <= 2_000
    assert 999_999 == fading.get(999_999)


@pytest.mark.parametrize(
    ("value", "key", "back"),
    [
        pytest.param("home", "home", "home", id="a string"),
        pytest.param("1", "1", "1", id="a string of a digit"),
        pytest.param(1, ("1",), 1, id="an integer"),
        pytest.param(1.0, ("1",), 1, id="a float that is whole"),
        pytest.param(1.5, ("1.5",), 1.5, id="a float"),
        pytest.param(True, ("true",), True, id="a bool"),
        pytest.param(None, ("null",), None, id="null"),
        pytest.param(2**60 + 1, ("1152921504606846977",), 2**60 + 1, id="an integer that no double can hold"),
        pytest.param(2**70, ("1.1805916207174113e21",), 2.0**70, id="an integer of more than 64 bits"),
    ],
)
def test_a_key_stands_for_one_value(value: Any, key: Any, back: Any) -> None:
    assert key == to_key(value)
    assert back == key_value(key)


@pytest.mark.parametrize(
    ("check", "value", "text"),
    [
        pytest.param(number, "21", "'21' is not a number", id="text"),
        pytest.param(number, True, "True is not a number", id="a bool"),
        pytest.param(number, math.nan, "nan is not a number", id="nan"),
        pytest.param(number, -math.inf, "-inf is not a number", id="infinity"),
        pytest.param(number, 10**5_000, "an integer of 16610 bits is not a number", id="thousands of digits"),
        pytest.param(number, "x" * 99, "'" + "x" * 59 + "… is not a number", id="a long text"),
        pytest.param(plain, [1], "[1] is not a string, a number, true, false or null", id="a list"),
        pytest.param(to_key, {}, "{} is not a string, a number, true, false or null", id="a mapping as key"),
    ],
)
def test_a_value_that_does_not_fit_is_named(check: Any, value: Any, text: str) -> None:
    with pytest.raises(UnfitError) as caught:
        check(value)

    assert text == str(caught.value)


def test_integers_that_a_double_cannot_hold_become_one() -> None:
    assert [2**53, float] == [number(2**53), type(number(2**53 + 2))]


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        (True, True, True),
        ("1", 1, False),
        (None, None, True),
        (0, None, False),
    ],
)
def test_equality_is_that_of_cel(one: Any, other: Any, equal: bool) -> None:
    assert equal is same(one, other)
