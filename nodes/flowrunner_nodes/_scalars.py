"""The values of fields and tags: their types, the conversions between them, and how they read as text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

from flowrunner import MessageError

type Scalar = bool | int | float | str
type FieldType = Literal["int", "float", "string", "bool"]

INT64 = 2**63
"""One more than the largest 64-bit integer."""

_MAX_STRING_BYTES = 65_536
_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LINE_BREAKS = re.compile(r"\r\n|\r|\n")


def to_float(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise MessageError(f"field `{name}` must be a float, got {kind_of(value)}")
    if isinstance(value, str) and _NUMBER.fullmatch(value) is None:
        raise MessageError(f"field `{name}` must be a float, got {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        raise MessageError(f"field `{name}` is too large for a float") from None


def _to_int(name: str, value: Any) -> int:
    if (isinstance(value, float) and value.is_integer()) or (
        isinstance(value, str) and _INTEGER.fullmatch(value)
    ):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise MessageError(f"field `{name}` must be an int, got {shown(value)}")
    if not -INT64 <= value < INT64:
        raise MessageError(f"field `{name}` does not fit into 64 bits")
    return value


def _to_bool(name: str, value: Any) -> bool:
    found = {"true": True, "false": False}.get(value) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise MessageError(f"field `{name}` must be a bool, got {shown(value)}")
    return found


def _to_string(name: str, value: Any) -> str:
    if not isinstance(value, bool | int | float | str):
        raise MessageError(f"field `{name}` must be a string, got {kind_of(value)}")
    return scalar_text(value)


CONVERTERS: dict[FieldType, Callable[[str, Any], Scalar]] = {
    "float": to_float,
    "int": _to_int,
    "bool": _to_bool,
    "string": _to_string,
}


def scalar_text(value: Scalar) -> str:
    """Return a scalar as text: ``21`` for 21 and for 21.0, ``true``, a string as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value).removesuffix(".0")


def tag_text(value: Any) -> str:
    """Return the text of a tag, ``""`` for null; raises :class:`MessageError` for what is no scalar."""
    if value is None:
        return ""
    if isinstance(value, bool | int | float | str):
        return scalar_text(value)
    raise MessageError(f"it must be a string, a number or a bool, got {kind_of(value)}")


def clean_string(name: str, text: str) -> str:
    """Return the text of a string field: each line break a space, as line protocol has no line breaks."""
    if "\n" in text or "\r" in text:
        text = _LINE_BREAKS.sub(" ", text)
    if text.isascii():
        size = len(text)
    elif is_unicode(text):
        size = len(text.encode())
    else:
        raise MessageError(f"field `{name}` is not valid Unicode")
    if size > _MAX_STRING_BYTES:
        raise MessageError(f"field `{name}` has {size} bytes; a string may have {_MAX_STRING_BYTES}")
    return text


def is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can spell and UTF-8 cannot
        return False
    return True


def kind_of(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", bool: "a bool", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:60] + "…"
