"""Times of a cron expression, in nanoseconds since the epoch; the one user of the cron library."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from cronsim import CronSim, CronSimError

from flowrunner import NANOSECONDS

_HOUR = 3_600 * NANOSECONDS
_LOOK_BACK = (_HOUR, 24 * _HOUR, 31 * 24 * _HOUR, 366 * 24 * _HOUR)


def check_cron(text: str) -> str | None:
    """Return what is wrong with a cron expression of five fields, ``None`` when it is right."""
    fields = len(text.split())
    if fields != 5:
        return f"it has {fields} field{'' if fields == 1 else 's'}, not 5"
    try:
        next(CronSim(text, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return str(error).lower()
    except StopIteration:
        return "there is no such day"
    return None


class Cron:
    """The instants of a cron expression in a time zone."""

    def __init__(self, text: str, timezone: tzinfo) -> None:
        self._text = text
        self._timezone = timezone

    def after(self, instant: int) -> int:
        """Return the first time later than ``instant``."""
        times = CronSim(self._text, datetime.fromtimestamp(instant // NANOSECONDS, self._timezone))
        while True:  # in the hour that a change of clocks repeats the library may look back
            found = int(next(times).timestamp()) * NANOSECONDS
            if found > instant:
                return found

    def latest(self, due: int, now: int) -> int:
        """Return the last time up to ``now``; ``due`` is one that has come."""
        for span in _LOOK_BACK:
            found = self.after(max(now - span, due))
            if found <= now:
                due = found
                break
        while (following := self.after(due)) <= now:
            due = following
        return due


class Period:
    """The multiples of a period since the epoch."""

    def __init__(self, period: int) -> None:
        self._period = period

    def after(self, instant: int) -> int:
        """Return the first multiple later than ``instant``."""
        return (instant // self._period + 1) * self._period

    def latest(self, due: int, now: int) -> int:
        """Return the last multiple up to ``now``; ``due`` is one that has come."""
        del due
        return now // self._period * self._period
