"""How windows divide time.

Time is cut into *panes*: the longest stretches that every window takes in as a whole or not at all. A tumbling window
is one pane; a hopping window of 1 h every 10 m is six. State is kept by the pane, so a message costs the same
however many windows overlap.
"""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec

from flowrunner import NANOSECONDS

DAY = 86_400 * NANOSECONDS
WEEK = 7 * DAY

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Panes(Protocol):
    """A division of all time into panes, numbered in order."""

    def index(self, time: int) -> int:
        """Return the number of the pane that holds ``time``, nanoseconds within 64 bits."""

    def start(self, index: int) -> int:
        """Return when a pane begins: nanoseconds since the epoch, the end of the one before."""


class FixedPanes(msgspec.Struct, frozen=True):
    """Panes of one length."""

    length: int
    origin: int

    def index(self, time: int) -> int:
        """Return the number of the pane that holds ``time``."""
        return (time - self.origin) // self.length

    def start(self, index: int) -> int:
        """Return when a pane begins."""
        return self.origin + index * self.length


class CalendarPanes(msgspec.Struct, frozen=True):
    """Panes of whole days in a time zone: 23 or 25 hours where its clocks change.

    A beginning that the clocks skip comes as much later as they skip; of one that they show twice it is the first.
    """

    days: int
    origin: int
    """Days from the epoch to pane 0."""
    offset: int
    """Nanoseconds after midnight, by the wall clock."""
    zone: zoneinfo.ZoneInfo

    def index(self, time: int) -> int:
        """Return the number of the pane that holds ``time``."""
        moment = (_EPOCH + timedelta(seconds=time // NANOSECONDS)).astimezone(self.zone)
        index = (moment.toordinal() - _EPOCH.toordinal() - self.origin) // self.days
        while self.start(index + 1) <= time:
            index += 1
        while self.start(index) > time:
            index -= 1
        return index

    def start(self, index: int) -> int:
        """Return when a pane begins."""
        midnight = datetime(1970, 1, 1) + timedelta(days=self.origin + index * self.days)  # noqa: DTZ001
        seconds, rest = divmod(self.offset, NANOSECONDS)
        wall = (midnight + timedelta(seconds=seconds)).replace(tzinfo=self.zone)
        since = wall - _EPOCH
        return (since.days * 86_400 + since.seconds) * NANOSECONDS + rest


class Layout(msgspec.Struct, frozen=True):
    """How windows lie over panes: window ``n`` begins with pane ``n * step`` and takes in ``span`` panes."""

    panes: Panes
    span: int
    step: int

    def bounds(self, window: int) -> tuple[int, int]:
        """Return when a window begins and ends; it does not hold its end."""
        first = window * self.step
        return self.panes.start(first), self.panes.start(first + self.span)

    def windows(self, pane: int) -> range:
        """Return the windows that take in a pane, the earliest first."""
        return range((pane - self.span) // self.step + 1, pane // self.step + 1)
