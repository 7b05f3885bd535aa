"""The operators of CEL on JSON values, as functions that emitted code calls where Python's own would differ.

Python would add ``True`` to a number, repeat and format strings with ``*`` and ``%``, order lists, and find
``True`` in ``[1]``. Every function here refuses what CEL refuses and raises :class:`EvaluationError`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import fmod, isfinite
from typing import Any, NoReturn

MAX_INT = 2**63 - 1
MIN_INT = -(2**63)
MAX_TEXT = 1 << 20
"""Characters in a string that an expression makes."""
MAX_ITEMS = 100_000
"""Items that an expression may put in a list, and that its macros may visit in one evaluation."""


class EvaluationError(Exception):
    """An expression has no value for this message; the text says why, without naming the place."""


EVALUATION_ERRORS: tuple[type[Exception], ...] = (
    EvaluationError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    RecursionError,
)
"""What a compiled expression may raise, for ``except EVALUATION_ERRORS``."""

NUMBERS = frozenset({int, float})
_KINDS = {type(None): "null", bool: "a bool", int: "a number", float: "a number", str: "a string"}


def kind(value: Any) -> str:
    """Return what a value is, in the words of JSON, for a sentence."""
    if type(value) is dict:
        return "an object"
    return "a list" if type(value) is list else _KINDS.get(type(value), f"a {type(value).__name__}")


def shorten(text: str, length: int) -> str:
    """Return the beginning of a text that is too long to show."""
    return text if len(text) <= length else text[: length - 1] + "…"


def unfit(operator: str, wanted: str, *values: Any) -> EvaluationError:
    """Return the error for values that an operator or a function does not take."""
    return EvaluationError(f"`{operator}` wants {wanted}, got " + " and ".join(map(kind, values)))


def check(result: Any) -> Any:
    """Return a number that is outside of the usual range if it is one at all."""
    if type(result) is float and isfinite(result):
        return result
    if type(result) is int:
        if MIN_INT <= result <= MAX_INT:
            return result
        raise EvaluationError("the result is too large for an integer of 64 bits")
    raise EvaluationError("the result is not a finite number")


def add(left: Any, right: Any) -> Any:
    """Return the sum of numbers, or the concatenation of strings or of lists."""
    kinds = type(left), type(right)
    if kinds[0] in NUMBERS and kinds[1] in NUMBERS:
        return check(left + right)
    if kinds == (str, str):
        return text(left, right)
    if kinds == (list, list):
        if len(left) + len(right) > MAX_ITEMS:
            raise EvaluationError(f"the list would have more than {MAX_ITEMS} items")
        return left + right
    raise unfit("+", "two numbers, two strings or two lists", left, right)


def text(*parts: str) -> str:
    """Return the concatenation of strings, unless it is too long."""
    limit(sum(map(len, parts)))
    return "".join(parts)


def limit(length: int) -> None:
    """Refuse to make a string of ``length`` characters if that is too many."""
    if length > MAX_TEXT:
        raise EvaluationError(f"the string would have more than {MAX_TEXT} characters")


def subtract(left: Any, right: Any) -> Any:
    """Return the difference of two numbers."""
    if type(left) in NUMBERS and type(right) in NUMBERS:
        return check(left - right)
    raise unfit("-", "two numbers", left, right)


def multiply(left: Any, right: Any) -> Any:
    """Return the product of two numbers."""
    if type(left) in NUMBERS and type(right) in NUMBERS:
        return check(left * right)
    raise unfit("*", "two numbers", left, right)


def divide(left: Any, right: Any) -> Any:
    """Return the quotient; of two integers the integer nearest to zero."""
    if type(left) not in NUMBERS or type(right) not in NUMBERS:
        raise unfit("/", "two numbers", left, right)
    if right == 0:
        raise EvaluationError("division by zero")
    if type(left) is int and type(right) is int:
        quotient = abs(left) // abs(right)
        return check(quotient if (left < 0) == (right < 0) else -quotient)
    return check(left / right)


def modulo(left: Any, right: Any) -> Any:
    """Return the remainder of a division, with the sign of the dividend."""
    if type(left) not in NUMBERS or type(right) not in NUMBERS:
        raise unfit("%", "two numbers", left, right)
    if right == 0:
        raise EvaluationError("division by zero")
    if type(left) is int and type(right) is int:
        remainder = abs(left) % abs(right)
        return remainder if left >= 0 else -remainder
    return fmod(left, right)


def negate(value: Any) -> Any:
    """Return the negative of a number."""
    if type(value) in NUMBERS:
        return check(-value)
    raise unfit("-", "a number", value)


def invert(value: Any) -> bool:
    """Return the opposite of a bool."""
    if value is True or value is False:
        return not value
    raise unfit("!", "a bool", value)


def boolean(value: Any) -> bool:
    """Return a value that stands where a condition should, if it is a bool."""
    if value is True or value is False:
        return value
    raise EvaluationError(f"a condition must be true or false, got {kind(value)}")


def not_number(value: Any) -> NoReturn:
    """Refuse a bool that Python would take for a number."""
    raise EvaluationError(f"a number is wanted, got {kind(value)}")


def _ordered(operator: str, compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def ordered(left: Any, right: Any) -> bool:
        kinds = type(left), type(right)
        if kinds[0] in NUMBERS and kinds[1] in NUMBERS:
            return compare(left, right)
        if kinds in ((str, str), (bool, bool)):
            return compare(left, right)
        raise unfit(operator, "two numbers or two strings", left, right)

    return ordered


less = _ordered("<", lambda left, right: left < right)
less_equal = _ordered("<=", lambda left, right: left <= right)
greater = _ordered(">", lambda left, right: left > right)
greater_equal = _ordered(">=", lambda left, right: left >= right)


def equal(left: Any, right: Any) -> bool:
    """Return whether two JSON values are the same: 1 is 1.0, but neither is ``true``."""
    kinds = type(left), type(right)
    if bool in kinds:
        return left is right
    if kinds == (list, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if kinds == (dict, dict):
        return len(left) == len(right) and all(key in right and equal(left[key], right[key]) for key in left)
    return left == right  # type: ignore[no-any-return]  # of scalars, or of different kinds


def unequal(left: Any, right: Any) -> bool:
    """Return whether two JSON values differ."""
    return not equal(left, right)


def contained(item: Any, container: Any) -> bool:
    """Return whether an item is in a list, or a key in a map."""
    if type(container) is list:
        found = item in container  # may take true for 1, but never misses what is equal
        return found and (type(item) is str or any(equal(item, other) for other in container))
    if type(container) is dict:
        return type(item) is str and item in container
    raise unfit("in", "a list or an object on its right", container)


def index(container: Any, key: Any) -> Any:
    """Return an element of a list, counted from 0, or the value of a key."""
    if type(container) is dict and type(key) is str:
        return container[key]
    if type(container) is list and type(key) in NUMBERS:
        if key != int(key):
            raise EvaluationError("the index of a list must be a whole number")
        if 0 <= key < len(container):
            return container[int(key)]
        raise EvaluationError(f"the list has {len(container)} items, there is no number {key}")
    raise unfit("[…]", "a list and a number, or an object and a string", container, key)


def has(container: Any, key: str) -> bool:
    """Return whether an object has a field."""
    if type(container) is dict:
        return key in container
    raise EvaluationError(f"it cannot have a field, it is {kind(container)}")


def field(container: Any, key: str, otherwise: Any) -> Any:
    """Return the value of a field, or another one when there is none or it is null."""
    value = container.get(key) if type(container) is dict else None
    return otherwise if value is None else value


def mapping(*entries: tuple[Any, Any]) -> dict[str, Any]:
    """Return the map of a literal whose keys had to be computed."""
    result: dict[str, Any] = {}
    for key, value in entries:
        if type(key) is not str:
            raise unfit("{…}", "strings for keys", key)
        if key in result:
            raise EvaluationError("a map has the same key twice")
        result[key] = value
    return result


def conjunction(*operands: Callable[[], Any]) -> bool:
    """Return ``&&`` as CEL has it: false wins over an error, on either side."""
    return _decide(operands, winner=False)


def disjunction(*operands: Callable[[], Any]) -> bool:
    """Return ``||`` as CEL has it: true wins over an error, on either side."""
    return _decide(operands, winner=True)


def _decide(operands: tuple[Callable[[], Any], ...], *, winner: bool) -> bool:
    failure: Exception | None = None
    for operand in operands:
        try:
            if boolean(operand()) is winner:
                return winner
        except EVALUATION_ERRORS as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return not winner
