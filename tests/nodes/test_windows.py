"""Where windows begin and end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from flowrunner import NANOSECONDS
from flowrunner_nodes._layout import Layout
from flowrunner_nodes._windows import Window, lay_out

HOUR = 3_600 * NANOSECONDS
MINUTE = 60 * NANOSECONDS


def layout(**options: Any) -> Layout:
    options.setdefault("type", "hopping" if "every" in options else "tumbling")
    return lay_out(TypeAdapter(Window).validate_python(options))


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NANOSECONDS


def bounds_of(layout: Layout, time: int) -> list[tuple[int, int]]:
    return [layout.bounds(window) for window in layout.windows(layout.panes.index(time))]


@pytest.mark.parametrize(
    ("options", "time", "start", "end"),
    [
        pytest.param(
            {"size": "1m"}, "2026-03-01T10:00:59", "2026-03-01T10:00", "2026-03-01T10:01", id="a minute"
        ),
        pytest.param(
            {"size": "1m"}, "2026-03-01T10:01", "2026-03-01T10:01", "2026-03-01T10:02", id="its end excluded"
        ),
        pytest.param(
            {"size": "1m"}, "1969-12-31T23:59:30", "1969-12-31T23:59", "1970-01-01T00:00", id="before 1970"
        ),
        pytest.param(
            {"size": "1h", "offset": "15m"},
            "2026-03-01T10:14",
            "2026-03-01T09:15",
            "2026-03-01T10:15",
            id="an offset",
        ),
        pytest.param(
            {"size": "1d"}, "2026-03-01T10:00", "2026-03-01T00:00", "2026-03-02T00:00", id="a day in UTC"
        ),
        pytest.param(
            {"size": "1w"}, "2026-03-01T10:00", "2026-02-23T00:00", "2026-03-02T00:00", id="a week on Monday"
        ),
        pytest.param(
            {"size": "1w", "offset": "6d"},
            "2026-03-01T10:00",
            "2026-03-01T00:00",
            "2026-03-08T00:00",
            id="on Sunday",
        ),
        pytest.param(
            {"size": "1d", "offset": "6h", "timezone": "Europe/Berlin"},
            "2026-07-01T03:59",
            "2026-06-30T04:00",
            "2026-07-01T04:00",
            id="a day from 6 by the wall clock",
        ),
        pytest.param(
            {"size": "1w", "timezone": "Europe/Berlin"},
            "2026-03-29T12:00",
            "2026-03-22T23:00",
            "2026-03-29T22:00",
            id="a week of 167 hours",
        ),
        pytest.param(
            {"size": "1w", "offset": "1d", "timezone": "UTC"},
            "2026-03-02T12:00",
            "2026-02-24T00:00",
            "2026-03-03T00:00",
            id="a week from Tuesday in a zone",
        ),
    ],
)
def test_a_tumbling_window_holds_its_start_and_not_its_end(
    options: dict[str, Any], time: str, start: str, end: str
) -> None:
    found = bounds_of(layout(**options), utc(time))

    assert [(utc(start), utc(end))] == found


@pytest.mark.parametrize(
    ("zone", "date", "hours"),
    [
        pytest.param("Europe/Berlin", "2026-03-29", 23, id="Berlin, spring"),
        pytest.param("Europe/Berlin", "2026-10-25", 25, id="Berlin, autumn"),
        pytest.param("Europe/Berlin", "2026-10-26", 24, id="Berlin, the day after"),
        pytest.param("America/New_York", "2026-03-08", 23, id="New York, spring"),
        pytest.param("America/New_York", "2026-11-01", 25, id="New York, autumn"),
        pytest.param("Australia/Lord_Howe", "2026-10-04", 23.5, id="Lord Howe, half an hour, spring"),
        pytest.param("Australia/Lord_Howe", "2026-04-05", 24.5, id="Lord Howe, half an hour, autumn"),
        pytest.param("America/Sao_Paulo", "2018-11-04", 23, id="Sao Paulo, a midnight that is skipped"),
        pytest.param("America/Havana", "2026-11-01", 25, id="Havana, a midnight that comes twice"),
        pytest.param("Pacific/Apia", "2011-12-29", 24, id="Apia, before the day that was left out"),
        pytest.param("Pacific/Apia", "2011-12-31", 24, id="Apia, after it"),
        pytest.param("Asia/Kathmandu", "2026-05-05", 24, id="Kathmandu, 5:45 ahead"),
    ],
)
def test_a_day_follows_the_clocks_of_its_zone(zone: str, date: str, hours: float) -> None:
    from zoneinfo import ZoneInfo

    days = layout(size="1d", timezone=zone)
    noon = (
        int(datetime.fromisoformat(date + "T12:00").replace(tzinfo=ZoneInfo(zone)).timestamp()) * NANOSECONDS
    )

    [(start, end)] = bounds_of(days, noon)

    assert hours * HOUR == end - start
    assert date == datetime.fromtimestamp(start // NANOSECONDS, ZoneInfo(zone)).date().isoformat()


@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        pytest.param("Europe/Berlin", "2026-10-24T22:00", id="Berlin, from 3 back to 2"),
        pytest.param(
            "America/St_Johns", "2010-11-07T02:30", id="St John's, from 0:01 back to the day before"
        ),
    ],
)
def test_every_moment_of_the_day_with_25_hours_is_in_it(zone: str, midnight: str) -> None:
    days = layout(size="1d", timezone=zone)
    start = utc(midnight)

    found = {tuple(bounds_of(days, start + minute * MINUTE)) for minute in range(25 * 60)}

    assert {((start, start + 25 * HOUR),)} == found


def test_an_offset_in_the_hour_that_is_skipped_comes_an_hour_later() -> None:
    days = layout(size="1d", offset="2h30m", timezone="Europe/Berlin")

    [(start, end)] = bounds_of(days, utc("2026-03-29T12:00"))

    assert (utc("2026-03-29T01:30"), utc("2026-03-30T00:30")) == (start, end)


@pytest.mark.parametrize(
    ("size", "every", "time", "starts"),
    [
        pytest.param("1h", "20m", "10:05", ["09:20", "09:40", "10:00"], id="that divides"),
        pytest.param("1h", "25m", "10:05", ["09:15", "09:40", "10:05"], id="that does not divide"),
        pytest.param("1h", "1h", "10:05", ["10:00"], id="as long as the window"),
    ],
)
def test_hopping_windows_begin_at_every_step(size: str, every: str, time: str, starts: list[str]) -> None:
    found = bounds_of(layout(size=size, every=every), utc(f"2026-03-01T{time}"))

    length = {"1h": HOUR}[size]
    assert [(utc(f"2026-03-01T{start}"), utc(f"2026-03-01T{start}") + length) for start in starts] == found


def test_a_week_hopping_by_days_ends_at_each_local_midnight() -> None:
    found = bounds_of(layout(size="1w", every="1d", timezone="Europe/Berlin"), utc("2026-03-29T12:00"))

    ends = [utc(f"2026-03-{day}T22:00") for day in (29, 30, 31)] + [
        utc(f"2026-04-0{day}T22:00") for day in (1, 2, 3, 4)
    ]
    assert ends == [end for _, end in found]


OPTIONS = st.sampled_from(
    [
        {"size": "7s"},
        {"size": "90m", "offset": "7m"},
        {"size": "1h", "every": "25m", "offset": "1s"},
        {"size": "3d", "timezone": "Europe/Berlin", "offset": "2h"},
        {"size": "2d", "timezone": "Australia/Lord_Howe"},
        {"size": "1d", "timezone": "Pacific/Apia"},
        {"size": "2w", "every": "1w", "timezone": "America/New_York"},
        {"size": "5d", "every": "3d", "timezone": "America/Sao_Paulo"},
    ]
)


@given(OPTIONS, st.integers(-(2**63), 2**63 - 1))
def test_each_moment_is_in_one_pane_and_in_just_the_windows_around_it(
    options: dict[str, str], time: int
) -> None:
    found = layout(**options)
    pane = found.panes.index(time)

    assert found.panes.start(pane) <= time < found.panes.start(pane + 1)
    windows = found.windows(pane)
    around = range(windows[0] - 2, windows[-1] + 3)
    assert list(windows) == [w for w in around if found.bounds(w)[0] <= time < found.bounds(w)[1]]


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        pytest.param(
            {"size": "1h", "timezone": "Europe/Berlin"}, "FR025", "whole days, but `size` is 1h", id="hours"
        ),
        pytest.param(
            {"size": "1d", "every": "1h", "timezone": "UTC"},
            "FR025",
            "whole days, but `every` is 1h",
            id="steps",
        ),
        pytest.param({"size": "1h", "every": "2h"}, "FR023", "longer than the size of 1h", id="gaps"),
        pytest.param(
            {"size": "1d", "every": "7ms"}, "FR023", "makes more than 10000 parts", id="too many parts"
        ),
        pytest.param({"size": "6000w"}, "FR023", "is more than 3660d", id="more than ten years"),
        pytest.param(
            {"size": "1d", "timezone": "Europe/Berln"}, "FR026", "'Europe/Berln'", id="no such zone"
        ),
        pytest.param(
            {"size": "1d", "timezone": "../etc"}, "FR026", "is not a time zone", id="no zone but a path"
        ),
        pytest.param({"size": "0s"}, "FR023", "more than zero", id="no length"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(options: dict[str, str], code: str, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        layout(**options)

    [error] = caught.value.errors()
    assert code == error["type"]
    assert text in error["ctx"]["text"]


def test_a_misspelt_zone_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(ValidationError) as caught:
        layout(size="1d", timezone="Europe/Berln")

    assert caught.value.errors()[0]["ctx"]["help"] == "did you mean `Europe/Berlin`?"
