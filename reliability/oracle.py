"""Judges what came out by what went in: three independent books must tell the same story.

The publisher's: which numbers the broker acknowledged. The journal's: which records flowrunner took over, with their
times. The sinks': which points and dead letters there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

type Point = tuple[int, int]
"""The number of a message, and its time in nanoseconds."""


@dataclass(frozen=True)
class Account:
    """What a run brought; a count is of messages."""

    published: int
    acknowledged: int
    journaled: int
    repeated_by_broker: int
    """Records in the journal beyond the first with the same number."""
    excused: int
    """Lost by the broker with its memory when it was killed."""
    lost: int
    written: int
    """Points in the database, of the path that has every message."""
    duplicated: int
    """Points that were sent more than once, the same each time."""
    dead_lettered: int
    windows: int
    problems: tuple[str, ...]
    """Broken promises in words; none when all is well."""


def judge(
    *,
    published: int,
    acknowledged: Mapping[int, float],
    excused: Sequence[tuple[float, float]],
    journal: Sequence[Point],
    undecodable: Collection[Point],
    database: Sequence[Point],
    standing: Collection[Point],
    rows: Collection[Point],
    letters: Sequence[tuple[str, Point]],
    windows: Mapping[tuple[str, str], str],
    recomputed: Mapping[tuple[str, str], str],
    strange: Collection[int] = (),
    strange_letters: Collection[int] = (),
) -> Account:
    """Return the account of a run.

    ``undecodable`` are the journaled records that are no JSON, ``database`` and ``rows`` the points in InfluxDB
    (as sent, with repeats) and in SQLite, ``standing`` those in InfluxDB that no other message has replaced, ``letters`` node and point of each dead letter, ``windows`` the points of the
    aggregate by series and time, ``recomputed`` those that the journal gives. ``strange`` are the places in the
    journal of what no node can use, ``strange_letters`` those with a dead letter.
    """
    taken = {number for number, _ in journal}
    missing = [number for number in acknowledged if number not in taken]
    forgotten = [number for number in missing if _within(acknowledged[number], excused)]
    lost = set(missing) - set(forgotten)
    good = set(journal) - set(undecodable)
    refused = {point for node, point in letters if node == "every"}
    unreadable = {point for node, point in letters if node == "sensors"}
    stored = Counter(database)
    unwritten = good - set(stored) - refused
    problems = [
        *_wrong("acknowledged by the broker and never taken over", lost),
        *_wrong("in the journal and never published", (n for n in taken if not 0 < n <= published)),
        *_wrong("taken over and not in the database", unwritten),
        *_wrong("in the database with a time that the journal does not know", set(stored) - good),
        *_wrong("in the database until another message took their place", set(stored) - set(standing)),
        *_wrong("taken over and not in SQLite", good - set(rows)),
        *_wrong("in SQLite with a time that the journal does not know", set(rows) - good),
        *_wrong("not to be decoded and not dead-lettered", set(undecodable) - unreadable),
        *_wrong("of no use and not dead-lettered", set(strange) - set(strange_letters)),
        *_wrong("dead-lettered twice", _repeated(letters)),
        *_wrong("dead-lettered and never taken over", (point for _, point in letters if point not in set(journal))),
        *_wrong("windows missing", set(recomputed) - set(windows)),
        *_wrong("windows that the journal does not give", set(windows) - set(recomputed)),
        *_wrong("windows with other values", (key for key in windows if windows[key] != recomputed.get(key, windows[key]))),
    ]  # fmt: skip
    return Account(
        published=published,
        acknowledged=len(acknowledged),
        journaled=len(journal) + len(strange),
        repeated_by_broker=len(journal) - len(taken),
        excused=len(forgotten),
        lost=sum(
            len(missing)
            for missing in (
                lost,
                unwritten,
                good - set(rows),
                set(undecodable) - unreadable,
                set(strange) - set(strange_letters),
            )
        ),
        written=len(stored),
        duplicated=sum(count > 1 for count in stored.values()),
        dead_lettered=len(letters) + len(strange_letters),
        windows=len(windows),
        problems=tuple(problems),
    )


def _within(moment: float, times: Iterable[tuple[float, float]]) -> bool:
    return any(begin <= moment <= end for begin, end in times)


def _repeated(letters: Iterable[tuple[str, Point]]) -> list[tuple[str, Point]]:
    return [letter for letter, count in Counter(letters).items() if count > 1]


def _wrong(what: str, found: Iterable[object]) -> list[str]:
    """Return one sentence about what was found, or nothing."""
    items = sorted(found, key=str)
    shown = ", ".join(str(item) for item in items[:5])
    more = ", …" if len(items) > 5 else ""
    return [f"{len(items)} {what}: {shown}{more}"] if items else []
