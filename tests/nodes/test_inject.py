from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from flowrunner import NANOSECONDS
from flowrunner_nodes import inject
from flowrunner_nodes._cron import Cron
from flowrunner_nodes.inject import Inject
from tests.nodes.harness import START, JournalInMemory, SetClock, decoded, options

SECOND = NANOSECONDS
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inject, "_LONGEST_SLEEP", 0.001)


@asynccontextmanager
async def running(context: JournalInMemory, **given: Any) -> AsyncIterator[Inject]:
    node = Inject(options(Inject, **given), context)
    task = asyncio.create_task(node.run())
    await asyncio.sleep(0.01)
    try:
        yield node
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def times_at(clock: SetClock, *moments: int, cursor: Any = None, **given: Any) -> list[int | None]:
    """Return the times of the messages made while the clock stood at each moment after another."""
    context = JournalInMemory(cursor, clock=clock)
    async with running(context, **given):
        for moment in moments:
            clock.time = moment
            await asyncio.sleep(0.01)
    return [record.time for record in context.records]


async def test_messages_are_made_at_the_multiples_of_the_period() -> None:
    start = START + 3 * SECOND

    times = await times_at(
        SetClock(start), START + 9 * SECOND, START + 10 * SECOND, START + 21 * SECOND, every="10s"
    )

    assert [START + 10 * SECOND, START + 20 * SECOND] == times


async def test_a_message_has_the_topic_and_payload() -> None:
    context = JournalInMemory(clock=SetClock())
    async with running(context, once=True, topic="home/tick", payload={"a": [1, None]}) as node:
        records = await context.wait_for(1)

    assert ("home/tick", START, None) == (records[0].topic, records[0].time, records[0].clock)
    assert [{"a": [1, None]}] == decoded(node, records)


async def test_the_topic_is_the_id_of_the_node_unless_given() -> None:
    context = JournalInMemory(node="beat")
    async with running(context, once=True) as node:
        records = await context.wait_for(1)

    assert ("beat", [None]) == (records[0].topic, decoded(node, records))


async def test_once_is_once_for_ever() -> None:
    context = JournalInMemory()
    node = Inject(options(Inject, once=True), context)

    await node.run()
    await node.run()

    assert 1 == len(context.records)


@pytest.mark.parametrize(
    ("cursor", "moments", "expected"),
    [
        pytest.param(0, [5], [], id="a restart within the period repeats nothing"),
        pytest.param(-10, [5], [0], id="an instant missed while away is made up for"),
        pytest.param(-86_400, [5], [0], id="many missed instants are made up for by one"),
        pytest.param(None, [5, 3_605], [3_600], id="a jump forward makes one message"),
        pytest.param(None, [5, 10, 9, 11, 20], [10, 20], id="a small step back repeats nothing"),
        pytest.param(None, [5, 10, -3_600, -3_590], [10, -3_590], id="a jump back goes on from there"),
        pytest.param(10**9, [5, 10], [10], id="a cursor far in the future is left behind"),
        pytest.param({"offset": 5}, [5, 10], [10], id="a cursor of another node type is ignored"),
    ],
)
async def test_no_restart_and_no_clock_makes_a_burst_or_a_repeat(
    cursor: Any, moments: list[int], expected: list[int]
) -> None:
    place = START + cursor * SECOND if isinstance(cursor, int) else cursor
    clock = SetClock(START + moments[0] * SECOND)

    times = await times_at(clock, *(START + at * SECOND for at in moments[1:]), cursor=place, every="10s")

    assert [START + at * SECOND for at in expected] == times


async def test_the_cursor_is_the_instant_of_the_last_message() -> None:
    context = JournalInMemory(START - 10 * SECOND, clock=SetClock(START + 1))
    async with running(context, every="10s"):
        await context.wait_for(1)

    assert START == context.cursor


async def test_a_cron_expression_makes_messages_at_its_times() -> None:
    start = START + 5 * MINUTE  # 11:05 in Berlin

    times = await times_at(SetClock(start), START + 31 * MINUTE, cron="30 11 * * *", timezone="Europe/Berlin")

    assert [START + 30 * MINUTE] == times


async def test_cron_is_in_utc_unless_a_zone_is_given() -> None:
    times = await times_at(SetClock(START + MINUTE), START + 30 * MINUTE, cron="30 10 * * *")

    assert [START + 30 * MINUTE] == times


def berlin(text: str, fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()) * NANOSECONDS


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        pytest.param("30 2 * * *", "2026-03-28T12:00", "2026-03-29T03:00", id="an hour that is left out"),
        pytest.param("30 2 * * *", "2026-03-29T03:00", "2026-03-30T02:30", id="and not again that day"),
        pytest.param("30 2 * * *", "2026-10-25T01:00", "2026-10-25T02:30", id="an hour that comes twice"),
        pytest.param("30 2 * * *", "2026-10-25T02:30", "2026-10-26T02:30", id="only in its first run"),
    ],
)
def test_a_change_of_clocks_neither_drops_nor_doubles_a_daily_job(
    cron: str, after: str, expected: str
) -> None:
    assert berlin(expected) == Cron(cron, BERLIN).after(berlin(after))


def test_a_time_in_the_repeated_hour_is_followed_by_a_later_one() -> None:
    repeated = berlin("2026-10-25T02:10", fold=1)

    assert berlin("2026-10-26T02:30") == Cron("30 2 * * *", BERLIN).after(repeated)


@pytest.mark.parametrize(
    ("cron", "days", "expected"),
    [
        pytest.param("* * * * *", 400, 0, id="every minute of a year away"),
        pytest.param("0 10 * * *", 400, 0, id="every day"),
        pytest.param("0 9 1 * *", 400, -1 / 24, id="every month"),
        pytest.param("0 10 1 1 *", 400, -59, id="every year"),
        pytest.param("0 10 29 2 *", 800, -731, id="every leap year"),
    ],
)
def test_the_last_of_many_missed_times_is_found(cron: str, days: int, expected: float) -> None:
    schedule = Cron(cron, ZoneInfo("UTC"))
    due = schedule.after(START - days * DAY)

    assert START + round(expected * DAY) == schedule.latest(due, START + 30 * SECOND)


@pytest.mark.parametrize(
    ("given_options", "code", "words"),
    [
        pytest.param({}, "FR025", "one of `every`, `cron` and `once` is needed", id="no schedule"),
        pytest.param(
            {"once": False}, "FR025", "one of `every`, `cron` and `once` is needed", id="once: false"
        ),
        pytest.param(
            {"every": "1s", "once": True}, "FR025", "`every` and `once` exclude each other", id="two"
        ),
        pytest.param(
            {"every": "1s", "timezone": "UTC"}, "FR025", "`timezone` needs `cron`", id="a useless zone"
        ),
        pytest.param({"cron": "61 * * * *"}, "FR027", "bad minute", id="a minute that is none"),
        pytest.param({"cron": "* * * *"}, "FR027", "it has 4 fields, not 5", id="four fields"),
        pytest.param({"cron": "* * * * * *"}, "FR027", "it has 6 fields, not 5", id="six fields"),
        pytest.param({"cron": "x"}, "FR027", "it has 1 field, not 5", id="one field"),
        pytest.param({"cron": "0 0 30 2 *"}, "FR027", "bad day-of-month", id="a day that never comes"),
        pytest.param(
            {"cron": "0 0 */16 * MON#5"}, "FR027", "there is no such day", id="a weekday that never comes"
        ),
        pytest.param(
            {"cron": "0 0 * * *", "timezone": "Mars/Base"}, "FR026", "'Mars/Base'", id="an unknown zone"
        ),
        pytest.param({"cron": "0 0 * * *", "timezone": "../etc"}, "FR026", "'../etc'", id="a path as zone"),
        pytest.param({"cron": "0 0 * * *", "timezone": "Europe"}, "FR026", "'Europe'", id="a folder as zone"),
        pytest.param({"every": "0s"}, "FR023", "more than zero", id="a period of nothing"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(
    given_options: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        options(Inject, **given_options)

    error = refused.value.errors()[0]
    assert (code, True) == (error["type"], words in error["ctx"]["text"])
