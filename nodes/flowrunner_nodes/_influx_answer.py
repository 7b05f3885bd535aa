"""What an InfluxDB's answer to a write means: accepted, which lines are to blame, or what a person should do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from flowrunner_nodes._http_answer import HttpAnswer

_QUOTED_LINE = re.compile(r"unable to parse '(.*?)': ", re.DOTALL)
_DROPPED = re.compile(r"\bdropped=(\d{1,9})\s*\Z")

_ADVICE = {
    401: "check the `token` of the connection",
    403: "give the token of the connection the right to write to this bucket",
    404: "create the bucket, or correct `bucket`, or `org` or `url` of the connection",
}


class Target(NamedTuple):
    """Where lines go: a bucket (a database in versions 1 and 3) and the unit of their timestamps."""

    bucket: str
    precision: str


class Answer(HttpAnswer, frozen=True):
    """The answer to a write."""

    @property
    def blames_lines(self) -> bool:
        """Whether some line is at fault and the others are not; a proxy's own 400 page is about no line."""
        return self.status == 422 or (self.status == 400 and (bool(self._facts()) or "pars" in self.body))

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
        return self.told("InfluxDB", words)

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
