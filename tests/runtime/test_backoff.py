"""The waits between attempts."""

from __future__ import annotations

import itertools

import pytest

from flowrunner.runtime.backoff import ASKED_CAP, CAP, OPERATOR_PAUSE, Backoff


def test_waits_are_random_grow_and_stay_under_the_cap() -> None:
    runs = []
    for _ in range(200):
        backoff = Backoff(first=1.0)
        runs.append([backoff.next() for _ in range(12)])

    assert all(0.5 * 2**n <= run[n] <= 2**n for run in runs for n in range(6))
    assert len({run[3] for run in runs}) > 100
    assert all(CAP / 2 <= wait <= CAP for run in runs for wait in run[7:])


def test_ten_minutes_of_an_outage_see_no_more_than_thirty_attempts() -> None:
    for _ in range(30):
        backoff = Backoff()
        times = list(itertools.accumulate((backoff.next() for _ in range(60)), initial=0.0))

        assert max(sum(start <= time < start + 600 for time in times) for start in times) <= 30


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [(None, 0.5, 1.0), (7.0, 7.0, 7.0), (1e9, ASKED_CAP, ASKED_CAP), (-5.0, 0.5, 1.0)],
)
def test_what_a_server_asks_for_is_believed_within_reason(
    asked: float | None, least: float, most: float
) -> None:
    wait = Backoff(first=1.0).next(asked=asked)

    assert least <= wait <= most


def test_when_a_person_must_act_there_is_no_hurry() -> None:
    assert Backoff().next(operator=True) >= OPERATOR_PAUSE


def test_a_success_makes_the_waits_short_again() -> None:
    backoff = Backoff(first=1.0)
    for _ in range(100_000):
        backoff.attempts += 1
    assert backoff.next() <= CAP
    backoff.reset()

    assert backoff.next() <= 1.0
    assert 1 == backoff.attempts
