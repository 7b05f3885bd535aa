"""What an InfluxDB's answer to a write means: accepted, which lines are to blame, or what a person should do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import msgspec

from flowrunner import FlowrunnerError

_LONGEST_RETRY_AFTER = 600.0
_LONGEST_MESSAGE = 300
_QUOTED_LINE = re.compile(r"unable to parse '(.*?)': ", re.DOTALL)
_DROPPED = re.compile(r"\bdropped=(\d{1,9})\s*\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")

_ADVICE = {
    401: "check the `token` of the connection",
    403: "give the token of the connection the right to write to this bucket",
    404: "create the bucket, or correct `bucket`, or `org` or `url` of the connection",
}


class Target(NamedTuple):
    """Where lines go: a bucket (a database in versions 1 and 3) and the unit of their timestamps."""

    bucket: str
    precision: str


class Unreachable(FlowrunnerError):
    """There was no whole answer; the lines may or may not have been stored."""


class Answer(msgspec.Struct, frozen=True):
    """One HTTP answer: the status and as much of the body and headers as matters, free of secrets."""

    status: int
    body: str = ""
    retry_after: float | None = None
    """Seconds to wait before the next request, between 0 and ten minutes, when the server said so."""
    location: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether every line is stored."""
        return 200 <= self.status < 300

    @property
    def too_large(self) -> bool:
        """Whether fewer lines at once may be accepted."""
        return self.status == 413

    @property
    def blames_lines(self) -> bool:
        """Whether some line is at fault and the others are not; a proxy's own 400 page is about no line."""
        return self.status == 422 or (self.status == 400 and (bool(self._facts()) or "pars" in self.body))

    @property
    def transient(self) -> bool:
        """Whether the same request may be accepted later without anybody's doing."""
        return self.status >= 500 or self.status in (408, 425, 429)

    @property
    def advice(self) -> str:
        """What a person should do about an answer that is not transient."""
        if self.location is not None:
            return f"redirects are not followed; it points to {self.location}: correct the `url` of the connection"
        return _ADVICE.get(self.status, "check the `url` and `version` of the connection")

    @property
    def message(self) -> str:
        """The status and the server's words on one line, cut to a readable length."""
        facts = self._facts()
        words = facts.get("message") or facts.get("error") or self.body
        rows = _rows(facts)
        if len(rows) == 1 and rows[0].get("error_message"):
            words = f"{words}: {rows[0]['error_message']}"
        text = _CONTROL.sub(" ", str(words)).strip()
        if len(text) > _LONGEST_MESSAGE:
            text = text[:_LONGEST_MESSAGE] + "…"
        return f"InfluxDB answered {self.status}" + (f": {text}" if text else "")

    def dropped_all_of(self, count: int) -> bool:
        """Whether the server says that it stored none of the ``count`` lines (``dropped=N`` of InfluxDB 1 and 2)."""
        facts = self._facts()
        found = _DROPPED.search(str(facts.get("message") or facts.get("error") or ""))
        return found is not None and int(found[1]) == count

    def suspects(self, lines: Sequence[bytes]) -> list[int]:
        """Return the indices of the lines that the server names, by number or by quotation, in order."""
        facts = self._facts()
        numbers = [row.get("line_number", row.get("line")) for row in (*_rows(facts), facts)]
        named = {number - 1 for number in numbers if isinstance(number, int) and 0 < number <= len(lines)}
        quoted = {
            text.encode() for text in _QUOTED_LINE.findall(str(facts.get("message") or facts.get("error")))
        }
        if quoted:
            named.update(index for index, line in enumerate(lines) if line in quoted)
        return sorted(named)

    def _facts(self) -> dict[str, Any]:
        try:
            found = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def _rows(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what InfluxDB 3 says of single lines: a list, or one mapping when it stored nothing."""
    data = facts.get("data")
    rows = data if isinstance(data, list) else [data]
    return [row for row in rows if isinstance(row, dict)]


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
