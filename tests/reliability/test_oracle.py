"""The judge of a soak finds every kind of broken promise, and calls nothing broken that is not."""

from __future__ import annotations

from typing import Any

import pytest

from reliability.oracle import judge

GOOD = [(1, 100), (2, 200), (4, 400)]
EVIDENCE: dict[str, Any] = {
    "published": 5,
    "acknowledged": {1: 10.0, 2: 20.0, 3: 30.0, 4: 40.0},
    "excused": [],
    "journal": [*GOOD, (3, 300)],
    "undecodable": [(3, 300)],
    "database": [(1, 100), (1, 100), (2, 200)],
    "standing": [(1, 100), (2, 200)],
    "rows": GOOD,
    "letters": [("sensors", (3, 300)), ("every", (4, 400))],
    "windows": {("climate", "0"): "max=1"},
    "recomputed": {("climate", "0"): "max=1"},
}


def judged(**changes: Any) -> Any:
    return judge(**{**EVIDENCE, **changes})


def test_a_run_in_which_everything_has_its_place_is_clean() -> None:
    account = judged()

    assert () == account.problems
    assert (5, 4, 4, 0) == (account.published, account.acknowledged, account.journaled, account.lost)
    assert (2, 1, 2, 1) == (
        account.written,
        account.duplicated,
        account.dead_lettered,
        account.windows,
    )


@pytest.mark.parametrize(
    ("changes", "lost", "problem"),
    [
        pytest.param(
            {"journal": [(1, 100), (2, 200), (3, 300)], "rows": GOOD[:2], "letters": EVIDENCE["letters"][:1]},
            1,
            "1 acknowledged by the broker and never taken over: 4",
            id="lost before the journal",
        ),
        pytest.param(
            {"journal": [*EVIDENCE["journal"], (9, 900)], "rows": [*GOOD, (9, 900)], "database": [(9, 900)]},
            None,
            "1 in the journal and never published: 9",
            id="invented",
        ),
        pytest.param(
            {"database": [(1, 100)], "standing": [(1, 100)]},
            1,
            "1 taken over and not in the database: (2, 200)",
            id="lost on the way to the database",
        ),
        pytest.param(
            {"database": [(1, 100), (1, 101), (2, 200)], "standing": [(1, 100), (1, 101), (2, 200)]},
            0,
            "1 in the database with a time that the journal does not know: (1, 101)",
            id="another timestamp",
        ),
        pytest.param(
            {"standing": [(2, 200)]},
            0,
            "1 in the database until another message took their place: (1, 100)",
            id="replaced",
        ),
        pytest.param({"rows": GOOD[1:]}, 1, "1 taken over and not in SQLite: (1, 100)", id="not in SQLite"),
        pytest.param(
            {"rows": [*GOOD, (5, 5)]},
            0,
            "1 in SQLite with a time that the journal does not know: (5, 5)",
            id="invented in SQLite",
        ),
        pytest.param(
            {"letters": [("every", (4, 400))]},
            1,
            "1 not to be decoded and not dead-lettered: (3, 300)",
            id="undecodable and gone",
        ),
        pytest.param(
            {"strange": [7, 8], "strange_letters": [7]},
            1,
            "1 of no use and not dead-lettered: 8",
            id="of no use and gone",
        ),
        pytest.param(
            {"letters": [*EVIDENCE["letters"], ("every", (4, 400))]},
            0,
            "1 dead-lettered twice: ('every', (4, 400))",
            id="dead-lettered twice",
        ),
        pytest.param(
            {"letters": [*EVIDENCE["letters"], ("every", (6, 600))]},
            0,
            "1 dead-lettered and never taken over: (6, 600)",
            id="invented dead letter",
        ),
        pytest.param({"windows": {}}, 0, "1 windows missing: ('climate', '0')", id="window missing"),
        pytest.param(
            {"recomputed": {}},
            0,
            "1 windows that the journal does not give: ('climate', '0')",
            id="window too many",
        ),
        pytest.param(
            {"windows": {("climate", "0"): "max=2"}},
            0,
            "1 windows with other values: ('climate', '0')",
            id="window with another value",
        ),
    ],
)
def test_every_kind_of_broken_promise_is_found(
    changes: dict[str, Any], lost: int | None, problem: str
) -> None:
    account = judged(**changes)

    assert problem in account.problems
    assert lost in (None, account.lost)


def test_what_a_killed_broker_had_not_saved_is_told_and_not_ours() -> None:
    account = judged(acknowledged={**EVIDENCE["acknowledged"], 5: 55.0}, excused=[(50.0, 60.0)])

    assert ((), 1, 0) == (account.problems, account.excused, account.lost)


def test_what_was_acknowledged_at_another_time_is_ours() -> None:
    account = judged(acknowledged={**EVIDENCE["acknowledged"], 5: 61.0}, excused=[(50.0, 60.0)])

    assert (0, 1) == (account.excused, account.lost)


def test_of_many_findings_five_are_shown() -> None:
    account = judged(rows=[*GOOD, *((10, time) for time in range(7))])

    assert account.problems[0].startswith("7 in SQLite")
    assert account.problems[0].endswith(", …")
