"""What becomes of a state and its attributes: the rules by which Home Assistant makes fields of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any

from flowrunner import MessageError

type Fields = dict[str, float | str]

_ONE = frozenset({"on", "locked", "above_horizon", "open", "home"})
_ZERO = frozenset({"off", "unlocked", "below_horizon", "closed", "not_home"})

_NOT_DECIMAL = re.compile(r"[^\d.]+")
_TWO_DIGITS = re.compile(r"\d\d")
_DECIMAL = re.compile(r"\d\.\d")


_SHORT = 100


def _tuple_text(value: Any) -> str:
    return str(tuple(value) if isinstance(value, list) else value)


def _datetime_text(value: Any) -> str:
    return value.replace("T", " ", 1) if isinstance(value, str) else str(value)


def _enumeration_text(name: str, members: str) -> Callable[[Any], str]:
    """Return how Python shows a list of the members of an enumeration, and of whatever else is in it."""
    known = {member: f"<{name}.{member.upper()}: '{member}'>" for member in members.split()}

    def text(value: Any) -> str:
        if not isinstance(value, list):
            return str(value)
        shown = (known.get(item, repr(item)) if isinstance(item, str) else repr(item) for item in value)
        return f"[{', '.join(shown)}]"

    return text


# What Home Assistant holds as a tuple, a datetime or members of an enumeration and JSON shows as lists and texts.
_COLORS = ("hs_color", "rgb_color", "rgbw_color", "rgbww_color", "xy_color")
_TEXTS: dict[tuple[str, str], Callable[[Any], str]] = {
    **{("light", name): _tuple_text for name in _COLORS},
    ("light", "supported_color_modes"): _enumeration_text(
        "ColorMode", "unknown onoff brightness color_temp hs xy rgb rgbw rgbww white"
    ),
    ("climate", "hvac_modes"): _enumeration_text("HVACMode", "off heat cool heat_cool auto dry fan_only"),
    ("group", "entity_id"): _tuple_text,
    ("automation", "last_triggered"): _datetime_text,
    ("script", "last_triggered"): _datetime_text,
    ("media_player", "media_position_updated_at"): _datetime_text,
}


class LeftOut(Exception):  # says what becomes of the message
    """Home Assistant writes no point for a state; ``reason`` is the word under which it is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def single_line(text: str) -> str:
    """Return a text with its line breaks replaced by spaces, a last one left out."""
    return " ".join(text.splitlines())


def state_fields(state: str) -> Fields:
    """Return the fields of a state: ``value`` for a number, ``state`` for a word, both for a word like ``on``."""
    try:
        return {"value": float(state)}
    except ValueError:
        pass
    if state in _ONE:
        return {"state": state, "value": 1.0}
    if state in _ZERO:
        return {"state": state, "value": 0.0}
    return {"state": single_line(state)}


def add_attributes(
    fields: Fields,
    domain: str,
    attributes: Mapping[str, Any],
    no_fields: Collection[str],
    redundant: str | None,
) -> None:
    """Add the fields of a state's attributes; raises :class:`MessageError` for what Python has no number for."""
    for name, value in attributes.items():
        if name not in no_fields and name != redundant:
            try:
                _add(fields, domain, name, value)
            except (OverflowError, ValueError, RecursionError):
                reason = f"the attribute `{name[:60]}` is too large or nested too deeply for a field"
                raise MessageError(reason) from None
    _free_time(fields)


def _add(fields: Fields, domain: str, name: str, value: Any) -> None:
    key = f"{name}_" if name in fields else name
    if isinstance(value, str) and (domain, name) not in _TEXTS:
        number, text = _of_short_text(value) if len(value) <= _SHORT else _of_text(value)
    else:
        number, text = _of_value(domain, name, value)
    if text is not None:
        fields[f"{key}_str"] = text
    if number is not None:
        if math.isfinite(number):
            fields[key] = number
        else:
            fields.pop(key, None)


def _of_value(domain: str, name: str, value: Any) -> tuple[float | None, str | None]:
    """Return what ``float`` makes of an attribute, or else its text and the number in it."""
    try:
        return float(value), None
    except (ValueError, TypeError):
        text = single_line(_TEXTS.get((domain, name), str)(value))
        return float(_NOT_DECIMAL.sub("", text)) if has_number(text) else None, text


def _of_text(text: str) -> tuple[float | None, str | None]:
    return _of_value("", "", text)


_of_short_text = lru_cache(4_096)(_of_text)
"""Most texts are the same in every state of an entity: its name, its class."""


def has_number(text: str) -> bool:
    r"""Return whether Home Assistant takes the digits of a text for a number.

    Its pattern is ``^[^\.]*\d+\.?\d+[^\.]*$``: at most one dot, between digits, or else two digits in a row. That
    takes time with the cube of a long text, this does not.
    """
    dots = text.count(".")
    return dots < 2 and (_DECIMAL if dots else _TWO_DIGITS).search(text) is not None


def is_finite(value: float | str) -> bool:
    """Return whether a field can be written: a text, or a number other than nan and the infinities."""
    return isinstance(value, str) or math.isfinite(value)


def finite_fields(fields: Fields) -> Fields:
    """Return the fields without a state that is no finite number; raises :class:`LeftOut` when none remains."""
    if not is_finite(fields.get("value", 0.0)):
        del fields["value"]
    if not fields:
        raise LeftOut("no_field")
    return fields


def _free_time(fields: Fields) -> None:
    """Rename a field ``time``, which InfluxDB keeps for itself."""
    if "time" in fields:
        key = "time_"
        while key in fields:
            key += "_"
        fields[key] = fields.pop("time")
