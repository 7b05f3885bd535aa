"""The functions on times and durations, which are integers of nanoseconds as in ``time``."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any

from flowrunner.expression.operators import EvaluationError, check, unfit
from flowrunner.message import NANOSECONDS
from flowrunner.options import parse_duration

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_OFFSET = re.compile(r"([+-]?)([01][0-9]|2[0-3]):([0-5][0-9])")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+\-/]{0,63}")


def timestamp(value: Any) -> int:
    """Return the nanoseconds since 1970 of a time as RFC 3339 writes it; an integer passes."""
    if type(value) is int:
        return value
    if type(value) is not str:
        raise unfit("timestamp", "a string such as 2026-03-01T10:00:00Z", value)
    match = _TIMESTAMP.fullmatch(value)
    try:
        day, clock, fraction, offset = match.groups() if match else ()
        moment = datetime.fromisoformat(f"{day}T{clock}{offset.upper()}")
    except ValueError:
        wanted = "`timestamp` wants a time such as 2026-03-01T10:00:00Z, with its offset"
        raise EvaluationError(wanted) from None
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    return check(seconds * NANOSECONDS + int((fraction or "").ljust(9, "0")))  # type: ignore[no-any-return]


def duration(value: Any) -> int:
    """Return the nanoseconds of a length of time such as ``1h30m``; an integer passes."""
    if type(value) is int:
        return value
    if type(value) is not str:
        raise unfit("duration", "a string such as 1h30m", value)
    text = value.removeprefix("-")
    if not re.fullmatch(r"[0-9a-z.]{2,64}", text):
        raise EvaluationError("`duration` wants a length of time such as 1h30m")
    try:
        length = parse_duration(text)
    except ValueError:
        raise EvaluationError("`duration` wants a length of time such as 1h30m") from None
    return check(-length if text != value else length)  # type: ignore[no-any-return]  # an int goes in


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    offset = _OFFSET.fullmatch(name)
    if offset is not None:
        sign, hours, minutes = offset.groups()
        length = timedelta(hours=int(hours), minutes=int(minutes))
        return timezone(-length if sign == "-" else length)
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # reads files: only for those who name a zone

    if not _ZONE.fullmatch(name):
        raise EvaluationError("a time zone is named as in Europe/Berlin or +02:00")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise EvaluationError(f"there is no time zone `{name}`") from None


def check_zone(name: str) -> None:
    """Raise :class:`EvaluationError` if there is no time zone of this name."""
    _zone(name)


def _part(name: str, part: Callable[[datetime], int]) -> Callable[..., int]:
    def function(time: Any, zone: Any = "UTC") -> int:
        if type(time) is not int:
            raise unfit(name, "a time in nanoseconds", time)
        if type(zone) is not str:
            raise unfit(name, "the name of a time zone", zone)
        moment = _EPOCH + timedelta(seconds=time // NANOSECONDS)
        return part(moment if zone == "UTC" else moment.astimezone(_zone(zone)))

    function.__doc__ = f"Return {name} of a time, in UTC or a time zone."
    return function


def milliseconds(time: Any, zone: Any = "UTC") -> int:
    """Return the milliseconds within the second."""
    if type(time) is not int or type(zone) is not str:
        raise unfit("getMilliseconds", "a time in nanoseconds", time)
    return time % NANOSECONDS // 1_000_000


PARTS: dict[str, Callable[..., int]] = {
    "getFullYear": _part("getFullYear", lambda moment: moment.year),
    "getMonth": _part("getMonth", lambda moment: moment.month - 1),
    "getDate": _part("getDate", lambda moment: moment.day),
    "getDayOfMonth": _part("getDayOfMonth", lambda moment: moment.day - 1),
    "getDayOfWeek": _part("getDayOfWeek", lambda moment: moment.isoweekday() % 7),
    "getDayOfYear": _part("getDayOfYear", lambda moment: moment.timetuple().tm_yday - 1),
    "getHours": _part("getHours", lambda moment: moment.hour),
    "getMinutes": _part("getMinutes", lambda moment: moment.minute),
    "getSeconds": _part("getSeconds", lambda moment: moment.second),
    "getMilliseconds": milliseconds,
}
