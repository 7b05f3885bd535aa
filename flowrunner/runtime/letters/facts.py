"""Dead letters as people and programs outside see them: their ids, and what is told of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from pydantic_core import PydanticCustomError

from flowrunner.errors import FlowrunnerError
from flowrunner.message import NANOSECONDS
from flowrunner.options import parse_duration
from flowrunner.runtime.letters.table import Kept

_ID = re.compile(r"(?P<flow>[a-z][a-z0-9_]*)/(?P<number>[0-9]{1,18})")


def letter_id(flow: str, number: int) -> str:
    """Return the id of a letter: the same as long as it is kept, and never given again."""
    return f"{flow}/{number}"


def parse_id(text: str) -> tuple[str, int]:
    """Return flow and number of an id. Raises :class:`FlowrunnerError` for what is none."""
    match = _ID.fullmatch(text)
    if match is None:
        raise FlowrunnerError(
            f"`{text}` is not the id of a dead letter, which is a flow and a number: climate/12"
        )
    return match["flow"], int(match["number"])


def parse_since(text: str, now: int) -> int:
    """Return nanoseconds since the epoch of ``2h`` ago or of a date and time (UTC unless it says otherwise)."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        moment = moment.replace(tzinfo=moment.tzinfo or UTC)
        return round(moment.timestamp() * 1_000) * 1_000_000
    try:
        return now - parse_duration(text)
    except PydanticCustomError:
        raise FlowrunnerError(
            f"`{text}` is neither a length of time (30m, 2h) nor a date and time (2026-03-01T10:00:00Z)"
        ) from None


def when(time: int) -> str:
    """Return a time as ISO 8601, to the millisecond; as nanoseconds when no calendar has it."""
    try:
        moment = datetime.fromtimestamp(time // NANOSECONDS, UTC).replace(
            microsecond=time % NANOSECONDS // 1_000_000 * 1_000
        )
    except (OverflowError, ValueError, OSError):
        return str(time)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def facts(flow: str, kept: Kept) -> dict[str, Any]:
    """Return everything that is told of a letter, JSON but for bytes."""
    letter = kept.letter
    return {
        "id": letter_id(flow, kept.number),
        "flow": flow,
        "node": letter.node,
        "reason": letter.reason,
        "failed_at": when(letter.created),
        "tried": letter.tried,
        "position": letter.position,
        "topic": letter.topic,
        "time": when(letter.time),
        "meta": dict(letter.meta),
        "payload": letter.payload,
        "data": letter.data,
        "replay": "asked for" if kept.wanted else "refused" if kept.refused is not None else None,
        "refused": kept.refused,
    }
