"""The scalars of YAML 1.2's core schema: what an unquoted word stands for."""

from __future__ import annotations

import math
import re

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_LONGEST_NUMBER = 100

LOOKALIKES = frozenset({"y", "n", "yes", "no", "on", "off"})
"""Words (in lower case) that were booleans in YAML 1.1 and are text in YAML 1.2."""


class NumberError(ValueError):
    """A number that no JSON reader could take up; the text says why."""


def core_value(text: str) -> bool | int | float | str | None:
    """Return what an unquoted scalar stands for: null, a boolean, a number or the text itself.

    Raises :class:`NumberError` for numbers beyond 64 bits and for ``.inf`` and ``.nan``.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return _float(text)
    if _NOT_FINITE.fullmatch(text):
        raise NumberError("`.inf` and `.nan` are not numbers that a message can carry")
    return text


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise NumberError(f"a whole number of {len(text)} digits is too large")
    value = int(text, 0) if text.startswith(("0o", "0x")) else int(text)
    if not -(2**63) <= value < 2**64:
        raise NumberError("a whole number must fit into 64 bits")
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NumberError("a number must be smaller than 1.8e308")
    return value
