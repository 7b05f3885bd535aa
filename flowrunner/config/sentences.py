"""Our sentences for the errors of pydantic's own types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flowrunner.config.words import listing, nearest

_TYPES = {
    "string": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
    "model_attributes": "a mapping",
    "none": "nothing",
    "url": "a URL",
}
_TYPE = re.compile(r"(" + "|".join(_TYPES) + r")_(?:type|parsing|from_float|parsing_size|required|sub_type)")
_LIMITS = {
    "greater_than": ("must be more than {}", "gt"),
    "greater_than_equal": ("must be at least {}", "ge"),
    "less_than": ("must be less than {}", "lt"),
    "less_than_equal": ("must be at most {}", "le"),
    "multiple_of": ("must be a multiple of {}", "multiple_of"),
    "string_too_short": ("must have at least {} characters", "min_length"),
    "string_too_long": ("must have at most {} characters", "max_length"),
    "too_short": ("must have at least {} entries", "min_length"),
    "too_long": ("must have at most {} entries", "max_length"),
}
_OPEN = {"string": "write it in quotes", "list": "write it as [a, b]"}


def sentence(error: Mapping[str, Any], name: str, got: str, *, hidden: bool) -> tuple[str, str, str | None]:
    """Return code, message and help for an error of pydantic's own; ``got`` is the value as it may be shown."""
    kind: str = error["type"]
    facts: Mapping[str, Any] = error.get("ctx", {})
    if (typed := _TYPE.fullmatch(kind)) is not None:
        return "FR022", f"`{name}` must be {_TYPES[typed[1]]}, got {got}", _OPEN.get(typed[1])
    if kind in _LIMITS:
        sentence, limit = _LIMITS[kind]
        return "FR023", f"`{name}` {sentence.format(facts[limit])}, got {got}", None
    if kind in ("literal_error", "enum", "union_tag_invalid"):
        return _choice(facts, error, name, got, hidden=hidden)
    if kind == "union_tag_not_found":
        discriminator = str(facts["discriminator"]).strip("'")
        return "FR021", f"`{discriminator}` is missing in `{name}`", None
    if kind == "string_pattern_mismatch":
        return "FR025", f"`{name}` has the wrong form: {got}", f"it must match {facts['pattern']}"
    if hidden:
        return "FR025", f"`{name}` does not accept {got}", None
    reason = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return "FR025", f"`{name}`: {reason}", None


def _choice(
    facts: Mapping[str, Any], error: Mapping[str, Any], name: str, got: str, *, hidden: bool
) -> tuple[str, str, str | None]:
    expected: str = facts.get("expected") or facts["expected_tags"]
    names = re.findall(r"'([^']*)'", expected) or [expected]
    value = facts.get("tag", error.get("input"))
    if "discriminator" in facts:
        name = f"{facts['discriminator'].strip(chr(39))}` of `{name}"
        got = got if hidden else f"`{value}`"
    near = nearest(value, names) if isinstance(value, str) and not hidden else None
    help = f"did you mean `{near}`?" if near else None
    return "FR024", f"`{name}` must be {listing(names, 'or')}, got {got}", help
