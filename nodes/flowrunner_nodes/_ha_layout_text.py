"""Names and values as Home Assistant's client for InfluxDB 2 writes them into a line."""

from __future__ import annotations

import re
from functools import lru_cache

from flowrunner import MessageError

_NAME = {",": "\\,", " ": "\\ ", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_NEEDS_ESCAPE = re.compile(r"[,= \n\t\r]").search
_ESCAPE_MEASUREMENT = str.maketrans(_NAME)
_ESCAPE_KEY = str.maketrans({**_NAME, "=": "\\="})

_SHORT = 100


def escaped_key(name: str) -> str:
    """Return the name of a tag or field; raises :class:`MessageError` for one that cannot stand in a line."""
    return _short_key(name) if len(name) <= _SHORT else _long_key(name)


def _long_key(name: str) -> str:
    return _ending_well(_escape(name, _ESCAPE_KEY))


_short_key = lru_cache(4_096)(_long_key)


def _escape(name: str, table: dict[int, str]) -> str:
    return name.translate(table) if _NEEDS_ESCAPE(name) else name  # translating takes 2 us, looking does not


def escaped_measurement(name: str) -> str:
    """Return a measurement; raises :class:`MessageError` for one that cannot stand in a line."""
    text = _escape(name, _ESCAPE_MEASUREMENT)
    if text.startswith("#"):
        raise MessageError(f"the measurement {text[:60]!a} begins with #, which makes the line a comment")
    return _ending_well(text)


def _ending_well(name: str) -> str:
    """Refuse a name that makes the rest of the line mean something else, as it does in Home Assistant's lines."""
    if not name or name.endswith("\\"):
        raise MessageError(f"the measurement or name {name[:60]!a} is empty or ends with a backslash")
    return name


def tag_value(value: str) -> str:
    """Return the value of a tag; one that ends with a backslash gets a space, as in Home Assistant."""
    text = _escape(value, _ESCAPE_KEY)
    return f"{text} " if text.endswith("\\") else text


def field_value(value: float | str) -> str:
    """Return the value of a field."""
    if isinstance(value, str):
        text = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{text}"'
    return repr(value).removesuffix(".0")
