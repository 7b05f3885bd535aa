"""How long to wait before trying again: exponential, with full jitter and a cap."""

from __future__ import annotations

from tenacity import RetryCallState, wait_random_exponential

CAP = 60.0
"""Seconds that two attempts are apart at the most, unless the server asks for more."""
OPERATOR_PAUSE = 30.0
"""Seconds between attempts when a person must act first: a wrong token, a missing bucket."""
ASKED_CAP = 600.0
"""Seconds that a server's ``Retry-After`` is believed at the most."""


class Backoff:
    """The waits between attempts at one thing; ``reset`` after a success."""

    def __init__(self, first: float = 0.5, cap: float = CAP) -> None:
        self._wait = wait_random_exponential(multiplier=first, max=cap)
        self.attempts = 0

    def reset(self) -> None:
        """Begin again with short waits."""
        self.attempts = 0

    def next(self, *, asked: float | None = None, operator: bool = False) -> float:
        """Count a failed attempt and return the seconds to wait before the next one."""
        self.attempts += 1
        state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]  # only the attempt number is read
        state.attempt_number = self.attempts
        delay = self._wait(state)
        if operator:
            delay = max(delay, OPERATOR_PAUSE)
        return max(delay, min(asked, ASKED_CAP)) if asked is not None else delay
