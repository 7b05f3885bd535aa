"""The windows that `aggregate` offers: their options, and what makes no sense."""

from __future__ import annotations

import difflib
import zoneinfo
from math import gcd
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from flowrunner import Duration, Options, PositiveDuration, format_duration, option_error
from flowrunner_nodes._layout import DAY, WEEK, CalendarPanes, FixedPanes, Layout, Panes

LONGEST = 3_660 * DAY
MOST_PANES = 10_000

_MONDAY = 4
"""1970-01-05 in days since the epoch: where weeks begin."""


class _Window(Options):
    size: Annotated[PositiveDuration, Field(description="Length of a window.", examples=["1m", "1h", "1d"])]
    offset: Annotated[
        Duration,
        Field(
            description="How much later than the full minute, hour or day windows begin; in days by the wall clock.",
            examples=["6h"],
        ),
    ] = "0s"  # type: ignore[assignment]  # read like a user's
    timezone: Annotated[
        str | None,
        Field(
            description="The time zone that windows of whole days or weeks follow; UTC by default.",
            examples=["Europe/Berlin"],
        ),
    ] = None

    @field_validator("size", mode="after")
    @classmethod
    def _is_of_this_world(cls, size: int) -> int:
        if size > LONGEST:
            raise option_error(
                "FR023", f"`{{name}}` is more than {format_duration(LONGEST)}", help="take a shorter window"
            )
        return size

    @field_validator("timezone", mode="after")
    @classmethod
    def _follows_days(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is None:
            return None
        _load_zone(name)
        _check_days("size", info.data.get("size", DAY))
        return name


class TumblingWindow(_Window):
    """Windows that follow each other without a gap: every message is in one."""

    type: Annotated[Literal["tumbling"], Field(description="Windows one after the other.")]


class HoppingWindow(_Window):
    """Windows of one size that begin at a shorter interval: a message is in several."""

    type: Annotated[Literal["hopping"], Field(description="Windows that overlap.")]
    every: Annotated[
        PositiveDuration,
        Field(description="From the beginning of a window to that of the next.", examples=["10s", "1m"]),
    ]

    @field_validator("every", mode="after")
    @classmethod
    def _overlaps(cls, every: int, info: ValidationInfo) -> int:
        size = info.data.get("size", every)
        if every > size:
            raise option_error(
                "FR023",
                f"`{{name}}` is {format_duration(every)}, longer than the size of {format_duration(size)}",
                help="messages between two windows would be lost; make `size` at least as long",
            )
        if info.data.get("timezone") is not None:
            _check_days("every", every)
        if size // gcd(size, every) > MOST_PANES:
            raise option_error(
                "FR023",
                f"{format_duration(size)} in steps of {format_duration(every)} makes more than {MOST_PANES} parts",
                help="take an `{name}` that divides `size`, or a longer one",
            )
        return every


Window = Annotated[TumblingWindow | HoppingWindow, Field(discriminator="type")]


def lay_out(window: TumblingWindow | HoppingWindow) -> Layout:
    """Return the layout of a window option; whole weeks begin on Monday."""
    every = window.every if isinstance(window, HoppingWindow) else window.size
    length = gcd(window.size, every)
    monday = _MONDAY if every % WEEK == 0 else 0
    panes: Panes
    if window.timezone is None:
        panes = FixedPanes(length, monday * DAY + window.offset % every)
    else:
        days, offset = divmod(window.offset % every, DAY)
        panes = CalendarPanes(length // DAY, monday + days, offset, _load_zone(window.timezone))
    return Layout(panes, window.size // length, every // length)


def _check_days(option: str, length: int) -> None:
    if length % DAY:
        raise option_error(
            "FR025",
            f"a `timezone` is for windows of whole days, but `{option}` is {format_duration(length)}",
            help="remove `timezone`, shorter windows do not need one; or write days or weeks, such as 1d or 1w",
        )


def _load_zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(name, zoneinfo.available_timezones(), n=1)
        help = f"did you mean `{near[0]}`?" if near else "write a name such as Europe/Berlin or UTC"
        raise option_error("FR026", f"`{{name}}` is not a time zone: {name!r}", help=help) from None
