"""The waits between attempts."""

from __future__ import annotations

import pytest

from flowrunner.runtime.backoff import ASKED_CAP, CAP, OPERATOR_PAUSE, Backoff


def test_waits_are_random_grow_and_stay_under_the_cap() -> None:
    runs = []
    for _ in range(200):
        backoff = Backoff(first=1.0)
        runs.append([backoff.next() for _ in range(12)])

    assert max(run[0] for run in runs) <= 1.0
    assert len({run[3] for run in runs}) > 100
    assert max(run[11] for run in runs) > CAP / 2
    assert all(0 <= wait <= CAP for run in runs for wait in run)


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [(None, 0.0, 1.0), (7.0, 7.0, 7.0), (1e9, ASKED_CAP, ASKED_CAP), (-5.0, 0.0, 1.0)],
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
