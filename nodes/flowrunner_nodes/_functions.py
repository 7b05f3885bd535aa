"""The functions that `aggregate` knows: their names, their arguments and what they make of an accumulator."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import msgspec
from pydantic import TypeAdapter, ValidationError

from flowrunner import NANOSECONDS, Expression, FunctionCall, Message, PositiveDuration, option_error
from flowrunner_nodes._accumulators import Accumulator, Direction, Ends, Spread, Summary
from flowrunner_nodes._distributions import Quantiles, Tally
from flowrunner_nodes._keys import Plain, UnfitError, number, plain, same
from flowrunner_nodes._series import Area, Growth


class Scope(msgspec.Struct, frozen=True):
    """The window that a result is for."""

    start: int
    end: int
    count: int
    """Messages of the key in the window."""


class Input(msgspec.Struct, frozen=True):
    """What a function needs to be kept."""

    accumulator: type[Accumulator]
    source: str
    """What is read, as text: inputs with the same accumulator, source and ``fit`` share their state."""
    read: Callable[[Message], Any]
    """Returns the value for one message, or raises any of ``EVALUATION_ERRORS``."""
    reason: Callable[[BaseException], str]
    """Returns what such an error means."""
    fit: Callable[[Any], Plain]
    """Returns a value as it is accumulated, or raises ``UnfitError``."""


class Function(msgspec.Struct, frozen=True):
    """One call, ready to be computed."""

    input: Input | None
    """``None`` for ``count``, which needs no more than the messages' number."""
    finish: Callable[[Any, Scope, float | None], Plain]
    """Returns the result for an accumulator, a window and the value carried into it."""


def resolve(call: FunctionCall) -> Function:
    """Return the function that a call names; raises an option error that says what is wrong with the call."""
    known = _FUNCTIONS.get(call.name)
    if known is None:
        near = difflib.get_close_matches(call.name, _FUNCTIONS, n=1)
        help = f"did you mean `{near[0]}`?" if near else "the functions are: " + ", ".join(sorted(_FUNCTIONS))
        raise option_error("FR041", f"there is no function `{call.name}`", help=help, length=len(call.name))
    names, accumulator, fit, finish = known
    if len(call.arguments) != len(names):
        takes = {0: "no argument", 1: "one argument"}.get(len(names), f"{len(names)} arguments")
        raise option_error(
            "FR042",
            f"`{call.name}` takes {takes}, got {len(call.arguments)}",
            help=f"write {call.name}({', '.join(names)})",
        )
    extra = _ARGUMENTS[names[1]](call) if len(names) > 1 else None
    return Function(
        None if accumulator is None else _input(call.arguments[0], names, extra, accumulator, fit),
        lambda state, scope, carried: finish(state, scope, carried, extra),
    )


def check(call: FunctionCall) -> FunctionCall:
    """Return the call if :func:`resolve` finds nothing wrong with it."""
    resolve(call)
    return call


def _input(
    expression: Expression, names: tuple[str, ...], extra: Any, accumulator: type[Accumulator], fit: _Fit
) -> Input:
    if "value" in names:
        source = f"{expression.source} == {extra!r}"
        return Input(accumulator, source, _equality(expression, extra), expression.reason, fit)
    return Input(accumulator, expression.source, expression.function, expression.reason, fit)


def _equality(expression: Expression, value: Plain) -> Callable[[Message], float]:
    function = expression.function
    return lambda message: 1.0 if same(function(message), value) else 0.0


def _unit(call: FunctionCall) -> int:
    try:
        return TypeAdapter(PositiveDuration).validate_python(_constant(call, "unit"))
    except ValidationError:
        raise _unsuitable(
            call, "a length of time", "write a unit such as '1h': the result is per hour"
        ) from None


def _share(call: FunctionCall) -> float:
    share = _constant(call, "q")
    if share.__class__ in (int, float) and 0 <= share <= 1:
        return float(share)
    raise _unsuitable(call, "a number from 0 to 1", "write 0.9 for the value that nine tenths are below")


def _value(call: FunctionCall) -> Plain:
    try:
        return plain(_constant(call, "value"))
    except UnfitError:
        raise _unsuitable(
            call, "a string, a number, true, false or null", "compare a member instead"
        ) from None


_ARGUMENTS: dict[str, Callable[[FunctionCall], Any]] = {"unit": _unit, "q": _share, "value": _value}


def _constant(call: FunctionCall, name: str) -> Any:
    argument = call.arguments[1]
    if not argument.is_constant:
        raise _unsuitable(call, "a constant", f"write {name} as a literal: it is the same for all messages")
    return argument.constant


def _unsuitable(call: FunctionCall, what: str, help: str) -> Exception:
    argument = call.arguments[1]
    return option_error(
        "FR042",
        f"the second argument of `{call.name}` must be {what}, got {argument.source}",
        help=help,
        offset=call.offsets[1],
        length=len(argument.source),
    )


def _time_weighted_mean(state: Area, scope: Scope, carried: float | None, _: None) -> float:
    area, elapsed = state.within(scope.start, scope.end, carried)
    return area / elapsed


def _integral(state: Area, scope: Scope, carried: float | None, unit: int) -> float:
    return state.within(scope.start, scope.end, carried)[0] / unit


def _duration_in(state: Area, scope: Scope, carried: float | None, _: Plain) -> float:
    return state.within(scope.start, scope.end, carried)[0] / NANOSECONDS


def _increase(state: Growth, scope: Scope, carried: float | None, _: None) -> float | None:
    return state.since(carried, scope.count)


def _rate(state: Growth, scope: Scope, carried: float | None, unit: int) -> float | None:
    growth = state.since(carried, scope.count)
    return None if growth is None else growth * unit / (scope.end - scope.start)


type _Finish = Callable[[Any, Scope, float | None, Any], Plain]
type _Fit = Callable[[Any], Plain]

_FUNCTIONS: dict[str, tuple[tuple[str, ...], type[Accumulator] | None, _Fit, _Finish]] = {
    "count": ((), None, plain, lambda _, scope, *__: scope.count),
    "sum": (("x",), Summary, number, lambda state, *_: state.total),
    "mean": (("x",), Summary, number, lambda state, scope, *_: state.total / scope.count),
    "min": (("x",), Summary, number, lambda state, *_: state.least),
    "max": (("x",), Summary, number, lambda state, *_: state.greatest),
    "range": (("x",), Summary, number, lambda state, *_: state.greatest - state.least),
    "stddev": (("x",), Spread, number, lambda state, *_: state.deviation()),
    "circular_mean": (("x",), Direction, number, lambda state, scope, *_: state.mean(scope.count)),
    "first": (("x",), Ends, plain, lambda state, *_: state.first),
    "last": (("x",), Ends, plain, lambda state, *_: state.last),
    "derivative": (("x", "unit"), Ends, number, lambda state, _, __, unit: state.slope(unit)),
    "median": (("x",), Quantiles, number, lambda state, *_: state.quantile(0.5)),
    "quantile": (("x", "q"), Quantiles, number, lambda state, _, __, share: state.quantile(share)),
    "mode": (("x",), Tally, plain, lambda state, *_: state.mode()),
    "distinct": (("x",), Tally, plain, lambda state, *_: len(state.counts)),
    "time_weighted_mean": (("x",), Area, number, _time_weighted_mean),
    "integral": (("x", "unit"), Area, number, _integral),
    "duration_in": (("x", "value"), Area, number, _duration_in),
    "increase": (("x",), Growth, number, _increase),
    "rate": (("x", "unit"), Growth, number, _rate),
}
