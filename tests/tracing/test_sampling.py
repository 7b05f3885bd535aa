"""Sampling: a share of the batches, never more than some a second."""

from __future__ import annotations

import pytest

from flowrunner.tracing.sampling import Sampler, Sampling
from tests.nodes.harness import START, SetClock


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        pytest.param({}, Sampling(0.01, 1, follow=True), id="default"),
        pytest.param({"": "always_on"}, Sampling(1.0, 10, follow=False), id="always on"),
        pytest.param({"": "always_off"}, Sampling(0.0, 10, follow=False), id="always off"),
        pytest.param({"": " Parentbased_Always_On "}, Sampling(1.0, 10), id="capitals and spaces"),
        pytest.param({"": "parentbased_always_off"}, Sampling(0.0, 10), id="only what is brought"),
        pytest.param({"": "traceidratio", "_ARG": "0.5"}, Sampling(0.5, 10, follow=False), id="share"),
        pytest.param({"": "parentbased_traceidratio", "_ARG": ""}, Sampling(1.0, 10), id="no share"),
    ],
)
def test_the_standard_variables_say_how_much_is_sampled(
    variables: dict[str, str], expected: Sampling
) -> None:
    assert expected == Sampling.read({f"OTEL_TRACES_SAMPLER{name}": text for name, text in variables.items()})


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"": "jaeger_remote"}, "none of the standard samplers"),
        ({"": "traceidratio", "_ARG": "1.5"}, "a number from 0 to 1"),
        ({"": "traceidratio", "_ARG": "nan"}, "a number from 0 to 1"),
        ({"": "traceidratio", "_ARG": "much"}, "a number from 0 to 1"),
    ],
)
def test_what_the_variables_cannot_say_is_named(variables: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Sampling.read({f"OTEL_TRACES_SAMPLER{name}": text for name, text in variables.items()})


def test_no_more_than_so_many_a_second_begin_however_many_there_are() -> None:
    clock = SetClock()
    sampler = Sampler(Sampling(share=1.0, per_second=2), clock)
    begun = []
    for tick in range(1000):
        clock.time = START + tick * 10_000_000
        begun.append(sampler.begin())

    assert 20 <= sum(begun) <= 22
    clock.time += 3600 * 1_000_000_000
    assert 2 == sum(sampler.begin() for _ in range(100))


def test_a_share_of_the_batches_begins() -> None:
    draws = iter([0.009, 0.011, 0.5, 0.001])
    sampler = Sampler(Sampling(per_second=100), SetClock(), draw=lambda: next(draws))

    assert [True, False, False, True] == [sampler.begin() for _ in range(4)]


@pytest.mark.parametrize(("follow", "expected"), [(True, 10), (False, 0)])
def test_what_belongs_to_a_recorded_trace_is_followed_if_the_sampler_goes_by_parents(
    follow: bool, expected: int
) -> None:
    sampler = Sampler(Sampling(share=0.0, follow=follow), SetClock())

    assert expected == sum(sampler.follow() for _ in range(50))
    assert (0 if follow else 10) == sum(sampler.link() for _ in range(50))
