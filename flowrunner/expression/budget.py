"""How much work one evaluation may do: what keeps macros over large lists bounded, alike on every machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flowrunner.expression.operators import EVALUATION_ERRORS, MAX_ITEMS, EvaluationError, boolean, kind

_CHARACTERS_A_STEP = 16
_SIZED = frozenset({str, list, dict})


class Budget:
    """The steps that are left to one evaluation."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_ITEMS

    def spend(self, steps: int) -> None:
        """Take steps away; raise when there are not enough."""
        self.left -= steps
        if self.left < 0:
            raise EvaluationError(f"the expression needs more than {MAX_ITEMS} steps")


def items(budget: Budget, container: Any) -> list[Any]:
    """Return what a macro visits: the items of a list or the keys of a map."""
    if type(container) is not list and type(container) is not dict:
        raise EvaluationError(f"a macro wants a list or an object, got {kind(container)}")
    budget.spend(len(container))
    return container if type(container) is list else list(container)


def charge(budget: Budget, value: Any) -> Any:
    """Return ``value`` after paying for its size: work inside a macro is paid for, not only its rounds."""
    pending = [value] if type(value) in _SIZED else []
    while pending:
        part = pending.pop()
        if type(part) is str:
            budget.spend(1 + len(part) // _CHARACTERS_A_STEP)
        else:
            budget.spend(1 + len(part))
            parts = part if type(part) is list else part.values()
            pending += [inner for inner in parts if type(inner) in _SIZED]
    return value


def every(test: Callable[[Any], Any], visited: Iterable[Any]) -> bool:
    """Return ``all`` as CEL has it: one false wins over errors."""
    return _decide(test, visited, winner=False)


def some(test: Callable[[Any], Any], visited: Iterable[Any]) -> bool:
    """Return ``exists`` as CEL has it: one true wins over errors."""
    return _decide(test, visited, winner=True)


def one(tests: Iterable[bool]) -> bool:
    """Return whether exactly one is true."""
    return sum(tests) == 1


def _decide(test: Callable[[Any], Any], visited: Iterable[Any], *, winner: bool) -> bool:
    failure: Exception | None = None
    for item in visited:
        try:
            if boolean(test(item)) is winner:
                return winner
        except EVALUATION_ERRORS as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return not winner


def default(value: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    """Return a value, or another one when the first is null or cannot be had."""
    try:
        result = value()
    except EVALUATION_ERRORS:
        return otherwise()
    return otherwise() if result is None else result
