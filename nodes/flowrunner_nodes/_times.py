"""Times as they stand in files and messages, to nanoseconds since the epoch, without losing a digit."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field

from flowrunner import NANOSECONDS, NEVER, MessageError, Options
from flowrunner_nodes._paths import MISSING, get_member

type TimeFormat = Literal["rfc3339", "s", "ms", "us", "ns"]

_UNITS = {"s": NANOSECONDS, "ms": 1_000_000, "us": 1_000, "ns": 1}
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?([eE][+-]?\d{1,3})?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TimeOptions(Options):
    """Where the time of a line stands."""

    field: Annotated[
        str,
        Field(
            description="The member of the line that holds its time; dots lead into nested ones.",
            examples=["ts"],
            pattern=r"^[^.]+(\.[^.]+)*$",
        ),
    ]
    format: Annotated[
        TimeFormat,
        Field(description="An RFC 3339 text, or a number in this unit since 1970.", examples=["ms"]),
    ] = "rfc3339"

    def read(self, payload: Any) -> int:
        """Return the time that stands in ``payload``; raise :class:`MessageError` when there is none."""
        value = get_member(payload, tuple(self.field.split(".")))
        if value is MISSING:
            raise MessageError(f"there is no `{self.field}` to take the time from")
        return parse_time(value, self.format)


def parse_time(value: Any, format: TimeFormat) -> int:
    """Return the nanoseconds since the epoch that ``value`` stands for.

    ``rfc3339`` reads strings with a zone; the others read numbers, or strings of a number, in that unit.
    Raises :class:`MessageError` for anything else and for times outside of 64 bits.
    """
    return parse_rfc3339(value) if format == "rfc3339" else _from_number(value, _UNITS[format])


def parse_rfc3339(value: Any) -> int:
    """Return the nanoseconds of ``2026-03-01T10:00:00.5Z`` or ``…+01:00``; digits beyond the ninth are cut."""
    match = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise MessageError(f"not a time with a zone such as 2026-03-01T10:00:00Z: {_short(value)}")
    date, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{date}T{clock}{zone.upper()}")
        since = moment - _EPOCH
    except (ValueError, OverflowError) as error:
        raise MessageError(f"not a time: {_short(value)}: {error}") from None
    seconds = since.days * 86_400 + since.seconds
    return _in_range(seconds * NANOSECONDS + int((fraction or "0").ljust(9, "0")), value)


def _from_number(value: Any, unit: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return _in_range(value * unit, value)
    text = repr(value) if isinstance(value, float) else value
    if not isinstance(text, str) or _NUMBER.fullmatch(text) is None:
        raise MessageError(f"not a number of time units: {_short(value)}")
    number = Decimal(text)
    return _in_range(round(number * unit) if abs(number) < NEVER else NEVER, value)


def _in_range(nanoseconds: int, value: Any) -> int:
    if not -NEVER < nanoseconds < NEVER:
        raise MessageError(f"outside the range of times: {_short(value)}")
    return nanoseconds


def _short(value: Any) -> str:
    """Return a text to show; an integer of thousands of digits has no ``repr``."""
    text = f"{value:#x}" if isinstance(value, int) else repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
