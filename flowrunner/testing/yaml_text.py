"""Values as YAML on one line, as people write expectations."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from flowrunner.config.scalars import LOOKALIKES, NumberError, core_value
from flowrunner.message import NANOSECONDS
from flowrunner.options import format_duration

_PLAIN = re.compile(r"[A-Za-z0-9_/](?:[A-Za-z0-9_/.+-]|:(?=[A-Za-z0-9]))*")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_IN_SECONDS = 120 * NANOSECONDS


def expectation_text(expectation: dict[str, Any]) -> str:
    """Return an expectation as it is written in a test file; times are nanoseconds."""
    parts = [f"{name}: {part_text(name, value)}" for name, value in expectation.items()]
    return "{ " + ", ".join(parts) + " }"


def value_text(value: Any) -> str:
    """Return a JSON value as YAML."""
    match value:
        case dict():
            parts = [f"{_text(name)}: {value_text(item)}" for name, item in value.items()]
            return "{ " + ", ".join(parts) + " }" if parts else "{}"
        case list():
            return "[" + ", ".join(map(value_text, value)) + "]"
        case str():
            return _text(value)
    return json.dumps(value, default=str)


def duration_text(nanoseconds: int) -> str:
    """Return a duration as people write it: up to two minutes in seconds."""
    if 0 < nanoseconds < _IN_SECONDS and nanoseconds % NANOSECONDS == 0:
        return f"{nanoseconds // NANOSECONDS}s"
    return format_duration(nanoseconds)


def time_text(nanoseconds: int) -> str:
    """Return a time in RFC 3339, as exact as a test can write it: microseconds."""
    time = _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    return time.isoformat().replace("+00:00", "Z")


def part_text(name: str, value: Any) -> str:
    """Return the value of one option of an expectation."""
    if name == "at":
        return duration_text(value)
    if name == "time":
        return time_text(value)
    if name == "line":
        return _quoted(value)
    if name == "message":
        return "{ " + ", ".join(f"{key}: {part_text(key, item)}" for key, item in value.items()) + " }"
    return value_text(value)


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in LOOKALIKES and _reads_as_text(text):
        return text
    return _quoted(text)


def _quoted(text: str) -> str:
    """Return a text in double quotes; what does not print is an escape that YAML reads."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in quoted)


def _reads_as_text(text: str) -> bool:
    try:
        return core_value(text) == text
    except NumberError:
        return False
