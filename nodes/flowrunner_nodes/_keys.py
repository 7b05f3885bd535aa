"""Keys and values as keyed state needs them: finite, comparable, and fit for a checkpoint."""

from __future__ import annotations

import math
from typing import Any

import msgspec

type Plain = bool | int | float | str | None
"""A JSON value without parts."""
type Key = str | tuple[str]
"""A key of keyed state: a string as it is, any other plain value as its JSON text in a tuple."""

LARGEST, LEAST = 1e150, -1e150
"""Beyond this squares and sums would overflow; no quantity of the world comes near."""
_EXACT = 2**53
_INT64 = 2**63
_SHOWN = 60


class UnfitError(Exception):
    """A value cannot be used here; the text says why."""


def number(value: Any) -> float:
    """Return a finite number; integers of more than 53 bits become a double. Raises :class:`UnfitError`."""
    if (type(value) is float or type(value) is int) and LEAST < value < LARGEST:
        return value if -_EXACT <= value <= _EXACT else float(value)
    raise UnfitError(f"{_show(value)} is not a number")


def plain(value: Any) -> Plain:
    """Return a string, a finite number, a bool or null; integers of more than 64 bits become a double.

    Raises :class:`UnfitError`.
    """
    if value is None or isinstance(value, str | bool) or (type(value) is int and -_INT64 <= value < _INT64):
        return value
    if isinstance(value, int | float):
        return number(value)
    raise UnfitError(f"{_show(value)} is not a string, a number, true, false or null")


def to_key(value: Any) -> Key:
    """Return the key for a value; 1 and 1.0 are the same, 1 and true are not. Raises :class:`UnfitError`."""
    if isinstance(value, str):
        return value
    value = plain(value)
    if type(value) is float and value.is_integer() and abs(value) <= _EXACT:
        value = int(value)
    return (msgspec.json.encode(value).decode(),)


def key_value(key: Key) -> Plain:
    """Return the value that a key was made of."""
    if isinstance(key, str):
        return key
    value: Plain = msgspec.json.decode(key[0])
    return value


def same(one: Any, other: Any) -> bool:
    """Return whether two values are equal as in CEL: 1 equals 1.0, and neither equals true."""
    return bool(one == other) and (type(one) is bool) is (type(other) is bool)


def _show(value: Any) -> str:
    if type(value) is int and abs(value) > _EXACT:
        return f"an integer of {value.bit_length()} bits"
    if type(value) is float and not math.isfinite(value):
        return str(value)
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
