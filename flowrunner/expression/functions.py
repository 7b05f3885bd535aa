"""The functions that an expression may call: the whole list, and nothing is found in any other way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from flowrunner.expression import numbers, texts, times

type Type = Literal["any", "null", "bool", "number", "string", "list", "map"]


class Function(msgspec.Struct, frozen=True):
    """One function: what to call, with how many arguments, and what comes out."""

    call: Callable[..., Any]
    least: int
    most: int | None
    returns: Type
    method: bool = False
    """Whether ``x.f(y)`` may be written for ``f(x, y)``."""
    costly: bool = False
    """Whether its work or its result grows with its arguments."""


def _text(call: Callable[..., Any], least: int, most: int, returns: Type) -> Function:
    return Function(call, least, most, returns, method=True, costly=True)


def _conversion(call: Callable[..., Any], returns: Type) -> Function:
    return Function(call, 1, 1, returns)


FUNCTIONS: dict[str, Function] = {
    "size": Function(texts.size, 1, 1, "number", method=True),
    "contains": _text(texts.contains, 2, 2, "bool"),
    "startsWith": Function(texts.starts_with, 2, 2, "bool", method=True),
    "endsWith": Function(texts.ends_with, 2, 2, "bool", method=True),
    "matches": _text(texts.matches, 2, 2, "bool"),
    "lower": _text(texts.lower, 1, 1, "string"),
    "upper": _text(texts.upper, 1, 1, "string"),
    "trim": _text(texts.trim, 1, 1, "string"),
    "split": _text(texts.split, 2, 3, "list"),
    "join": _text(texts.join, 1, 2, "string"),
    "replace": _text(texts.replace, 3, 4, "string"),
    "substring": _text(texts.substring, 2, 3, "string"),
    "parse_json": Function(texts.parse_json, 1, 1, "any", costly=True),
    "to_json": Function(texts.to_json, 1, 1, "string", costly=True),
    "int": _conversion(numbers.to_int, "number"),
    "uint": _conversion(numbers.to_uint, "number"),
    "double": _conversion(numbers.to_double, "number"),
    "string": _conversion(numbers.to_string, "string"),
    "bool": _conversion(numbers.to_bool, "bool"),
    "dyn": _conversion(numbers.dyn, "any"),
    "type": _conversion(numbers.type_of, "string"),
    "number": _conversion(numbers.number, "number"),
    "is_number": _conversion(numbers.is_number, "bool"),
    "round": Function(numbers.round_to, 1, 2, "number"),
    "floor": Function(numbers.floor, 1, 1, "number"),
    "ceil": Function(numbers.ceil, 1, 1, "number"),
    "sqrt": Function(numbers.sqrt, 1, 1, "number"),
    "abs": Function(numbers.absolute, 1, 1, "number"),
    "min": Function(numbers.least, 1, None, "number", costly=True),
    "max": Function(numbers.greatest, 1, None, "number", costly=True),
    "clamp": Function(numbers.clamp, 3, 3, "number"),
    "timestamp": _conversion(times.timestamp, "number"),
    "duration": _conversion(times.duration, "number"),
    **{name: Function(call, 1, 2, "number", method=True) for name, call in times.PARTS.items()},
}

MACROS: dict[str, tuple[int, ...]] = {
    "all": (2,),
    "exists": (2,),
    "exists_one": (2,),
    "map": (2, 3),
    "filter": (2,),
}
"""The macros, which are called on a list or a map, and how many arguments they take."""

SPECIAL: dict[str, int] = {"has": 1, "default": 2, "now": 0}
"""What looks like a function but has rules of its own."""

ROOTS: dict[str, Type] = {"payload": "any", "topic": "string", "time": "number", "meta": "map"}
"""The parts of a message that an expression sees."""

TYPE_NAMES = frozenset({"int", "uint", "double", "string", "bool", "list", "map", "null_type"})
"""The names that ``type`` returns; written bare, each stands for itself."""
