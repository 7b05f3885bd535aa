"""How much a value must change to be worth a report: by a number, or by a part of what it was."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

import msgspec
from pydantic import BeforeValidator, WithJsonSchema

from flowrunner import MessageError, option_error
from flowrunner_nodes._keys import UnfitError, number, same

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_HELP = "write a number such as 0.5, or a part of the value such as 5%"


class Threshold(msgspec.Struct, frozen=True):
    """The least difference that counts."""

    amount: float
    relative: bool
    """Whether ``amount`` is a part (0.05 for 5 %) of the value that passed last."""


def _read(value: Any) -> Threshold:
    if isinstance(value, Threshold):
        return value
    part = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if part is not None:
        return _positive(Threshold(float(part[1]) / 100, relative=True))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise option_error("FR023", f"`{{name}}` must be a number or a part in %, got {value!r}", help=_HELP)
    return _positive(Threshold(float(value), relative=False))


def _positive(threshold: Threshold) -> Threshold:
    if not 0 < threshold.amount < math.inf:
        raise option_error("FR023", "`{name}` must be more than zero", help=_HELP + ", or leave it out")
    return threshold


Change = Annotated[
    Threshold,
    BeforeValidator(_read),
    WithJsonSchema({"type": ["number", "string"], "pattern": r"^\d+(\.\d+)?\s*%$", "exclusiveMinimum": 0}),
]
"""A least difference, written ``0.5`` or ``5%``."""


def differs(value: Any, before: Any, change: Threshold | None) -> bool:
    """Return whether ``value`` differs enough from ``before``; any difference is enough without ``change``.

    Raises :class:`MessageError` for what is no number where there must be one.
    """
    if change is None:
        return not same(value, before)
    try:
        new, old = number(value), number(before)
    except UnfitError as error:
        raise MessageError(f"`value`: {error}") from None
    needed = abs(old) * change.amount if change.relative else change.amount
    return new != old and abs(new - old) >= needed
