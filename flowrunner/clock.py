"""The clocks that the engine is given; nothing below the command line reads the machine's own."""

from __future__ import annotations

import time
from typing import Protocol

from flowrunner.message import NANOSECONDS

NEVER = 2**63 - 1
"""A time that no timer reaches: nanoseconds, the largest signed 64-bit integer."""


class Clock(Protocol):
    """A source of wall-clock and elapsed time."""

    def now(self) -> int:
        """Return the wall clock in nanoseconds since the Unix epoch. May jump either way."""

    def monotonic(self) -> float:
        """Return seconds that never go back, for measuring durations and time-outs."""


class SystemClock:
    """The machine's clocks: the one place that reads them."""

    def now(self) -> int:
        """Return the wall clock in nanoseconds since the Unix epoch."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Return the machine's monotonic clock in seconds."""
        return time.monotonic()


class FlowClock:
    """The clock that stamps arrivals: follows the wall clock forward, never goes back.

    When the wall clock steps back, this one goes on at half the pace of time until the wall clock has come to it:
    throttles and delays go on, and messages that carry the time of their arrival do not stay late for good. When the
    wall clock overtakes it, it follows at once.
    """

    def __init__(self, clock: Clock, start: int = 0) -> None:
        self._clock = clock
        self._last = start
        self._last_monotonic = clock.monotonic()

    def now(self) -> int:
        """Return the flow clock in nanoseconds since the epoch; never less than a value returned before."""
        monotonic = self._clock.monotonic()
        elapsed = int((monotonic - self._last_monotonic) * NANOSECONDS)
        self._last_monotonic = monotonic
        self._last = max(self._clock.now(), self._last + (max(elapsed, 0) + 1) // 2)
        return self._last

    def at_least(self, clock: int) -> None:
        """Move the clock forward to ``clock`` if it is behind it."""
        self._last = max(self._last, clock)
