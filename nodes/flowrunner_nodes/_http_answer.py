"""What a server answers over HTTP, and when to come again; no I/O."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

import msgspec

from flowrunner import FlowrunnerError

_LONGEST_RETRY_AFTER = 600.0
_LONGEST_WORDS = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class Unreachable(FlowrunnerError):
    """There was no whole answer; the server may or may not have done what it was asked for."""

    def __init__(self, reason: str, *, forbidden: bool = False) -> None:
        super().__init__(reason)
        self.forbidden = forbidden
        """Whether the address is one that must not be reached."""


class HttpAnswer(msgspec.Struct, frozen=True):
    """One HTTP answer: the status and as much of the body and headers as matters, free of secrets."""

    status: int
    body: str = ""
    retry_after: float | None = None
    """Seconds to wait before the next request, between 0 and ten minutes, when the server said so."""
    location: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether the server has done what it was asked for."""
        return 200 <= self.status < 300

    @property
    def too_large(self) -> bool:
        """Whether less at once may be accepted."""
        return self.status == 413

    @property
    def transient(self) -> bool:
        """Whether the same request may be accepted later without anybody's doing."""
        return self.status >= 500 or self.status in (408, 425, 429)

    def told(self, server: str, words: object) -> str:
        """Return the status and the server's words on one line, cut to a readable length."""
        text = _CONTROL.sub(" ", str(words)).strip()
        if len(text) > _LONGEST_WORDS:
            text = text[:_LONGEST_WORDS] + "…"
        return f"{server} answered {self.status}" + (f": {text}" if text else "")


def parse_retry_after(value: str | None, date: str | None, now: float) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, capped at ten minutes; ``None`` for nonsense.

    A header that is a date counts from the server's own ``Date``, or from ``now`` (seconds since the epoch).
    """
    if value is None:
        return None
    value = value.strip()
    if re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII):
        return min(float(value), _LONGEST_RETRY_AFTER)
    until = _timestamp(value)
    if until is None:
        return None
    since = _timestamp(date) if date is not None else None
    return min(max(until - (now if since is None else since), 0.0), _LONGEST_RETRY_AFTER)


def _timestamp(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
