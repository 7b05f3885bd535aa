"""How long to wait before trying again: exponential, with jitter and a cap."""

from __future__ import annotations

import random

CAP = 60.0
"""Seconds that two attempts are apart at the most, unless the server asks for more."""
OPERATOR_PAUSE = 30.0
"""Seconds between attempts when a person must act first: a wrong token, a missing bucket."""
ASKED_CAP = 600.0
"""Seconds that a server's ``Retry-After`` is believed at the most."""
_DOUBLINGS = 64
"""Enough to reach any cap, few enough for a float."""


class Backoff:
    """The waits between attempts at one thing; ``reset`` after a success."""

    def __init__(self, first: float = 0.5, cap: float = CAP) -> None:
        self._first = first
        self._cap = cap
        self.attempts = 0

    def reset(self) -> None:
        """Begin again with short waits."""
        self.attempts = 0

    def next(self, *, asked: float | None = None, operator: bool = False) -> float:
        """Count a failed attempt and return the seconds to wait before the next one."""
        longest = min(self._first * 2.0 ** min(self.attempts, _DOUBLINGS), self._cap)
        self.attempts += 1
        # Not from zero on: many short waits in a row would ask a server that is down too often.
        delay = random.uniform(longest / 2, longest)  # noqa: S311  # spreads load, no secret
        if operator:
            delay = max(delay, OPERATOR_PAUSE)
        return max(delay, min(asked, ASKED_CAP)) if asked is not None else delay
