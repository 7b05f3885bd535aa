"""The functions on numbers, and the conversions."""

from __future__ import annotations

import math
import re
from typing import Any

from flowrunner.expression.operators import MIN_INT, NUMBERS, EvaluationError, check, kind, shorten, unfit

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_TRUE = frozenset({"true", "True", "TRUE", "t", "1"})
_FALSE = frozenset({"false", "False", "FALSE", "f", "0"})
_MAX_DIGITS = 400


def number(value: Any) -> Any:
    """Return a number as it is, and a text as a double if it is nothing but a decimal number."""
    if type(value) in NUMBERS:
        return check(value)
    if type(value) is not str:
        raise unfit("number", "a number or a string", value)
    if len(value) <= _MAX_DIGITS and _NUMBER.fullmatch(value):
        return check(float(value))
    raise EvaluationError(f"{shorten(value, 40)!r} is not a number")


def is_number(value: Any) -> bool:
    """Return whether ``number`` would take a value."""
    try:
        number(value)
    except EvaluationError:
        return False
    return True


def to_int(value: Any) -> int:
    """Return a number without its fraction, or a text of digits as an integer."""
    if type(value) in NUMBERS:
        return check(int(value))  # type: ignore[no-any-return]  # an int goes in
    if type(value) is str and _INTEGER.fullmatch(value):
        return check(int(value))  # type: ignore[no-any-return]  # an int goes in
    if type(value) is str:
        raise EvaluationError(f"{shorten(value, 40)!r} is not an integer")
    raise unfit("int", "a number or a string", value)


def to_uint(value: Any) -> int:
    """Return ``int`` of a value, if it is not negative."""
    result = to_int(value)
    if result < 0 or (type(value) is float and value < 0):
        raise EvaluationError("a uint cannot be negative")
    return result


def to_double(value: Any) -> float:
    """Return a number, or a text that is one, as a double."""
    return float(number(value))


def to_bool(value: Any) -> bool:
    """Return a bool as it is, or what a text says: ``true``, ``t``, ``1``, ``false``, ``f``, ``0``."""
    if type(value) is bool:
        return value
    if type(value) is str and value in _TRUE | _FALSE:
        return value in _TRUE
    if type(value) is str:
        raise EvaluationError(f"{shorten(value, 40)!r} is neither true nor false")
    raise unfit("bool", "a bool or a string", value)


def to_string(value: Any) -> str:
    """Return a scalar as text, a number as JSON writes it."""
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) in NUMBERS:
        return str(check(value))
    raise unfit("string", "a string, a number or a bool (to_json writes anything)", value)


def type_of(value: Any) -> str:
    """Return the name of a value's type."""
    name = _TYPES.get(type(value))
    if name is None:
        raise unfit("type", "a JSON value", value)
    return name


_TYPES = {
    type(None): "null_type",
    bool: "bool",
    int: "int",
    float: "double",
    str: "string",
    list: "list",
    dict: "map",
}


def dyn(value: Any) -> Any:
    """Return the value itself, of which nothing is known at load."""
    return value


def round_to(value: Any, digits: Any = None) -> Any:
    """Return a number rounded to so many decimal digits, an integer when none are asked for; halves to even."""
    if type(value) not in NUMBERS:
        raise unfit("round", "a number", value)
    if digits is None:
        return check(round(value))
    if type(digits) is not int or not -15 <= digits <= 15:
        raise EvaluationError("`round` wants between -15 and 15 digits")
    return check(round(value, digits))


def floor(value: Any) -> Any:
    """Return the largest integer that is not above a number."""
    if type(value) not in NUMBERS:
        raise unfit("floor", "a number", value)
    return check(math.floor(value))


def ceil(value: Any) -> Any:
    """Return the smallest integer that is not below a number."""
    if type(value) not in NUMBERS:
        raise unfit("ceil", "a number", value)
    return check(math.ceil(value))


def sqrt(value: Any) -> float:
    """Return the square root."""
    if type(value) not in NUMBERS:
        raise unfit("sqrt", "a number", value)
    if value < 0:
        raise EvaluationError("`sqrt` wants a number that is not negative")
    return math.sqrt(value)


def absolute(value: Any) -> Any:
    """Return the distance from zero."""
    if type(value) not in NUMBERS:
        raise unfit("abs", "a number", value)
    if type(value) is int and value == MIN_INT:
        raise EvaluationError("the result is too large for an integer of 64 bits")
    return check(abs(value))


def least(*values: Any) -> Any:
    """Return the smallest of some numbers, or of the numbers in a list."""
    return min(_several("min", values))


def greatest(*values: Any) -> Any:
    """Return the largest of some numbers, or of the numbers in a list."""
    return max(_several("max", values))


def clamp(value: Any, low: Any, high: Any) -> Any:
    """Return a number, or the limit that it is beyond."""
    _wants_numbers("clamp", value, low, high)
    if low > high:
        raise EvaluationError("`clamp` wants a lower limit that is not above the upper one")
    return min(max(value, low), high)


def _several(name: str, values: tuple[Any, ...]) -> Any:
    numbers = values[0] if len(values) == 1 and type(values[0]) is list else values
    if not numbers:
        raise EvaluationError(f"`{name}` of an empty list")
    _wants_numbers(name, *numbers)
    return numbers


def _wants_numbers(name: str, *values: Any) -> None:
    for value in values:
        if type(value) not in NUMBERS:
            raise EvaluationError(f"`{name}` wants numbers, got {kind(value)}")
