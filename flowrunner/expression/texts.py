"""The functions on strings and JSON texts. All work, and every result, is bounded."""

from __future__ import annotations

from typing import Any

import msgspec

from flowrunner.expression.budget import Budget, charge
from flowrunner.expression.operators import MAX_ITEMS, EvaluationError, kind, limit, unfit

MAX_PATTERN = 1024
_MAX_PROGRAM = 500  # instructions; the slowest search costs this times the length of the text
MAX_MATCHED = 1 << 16
"""Bytes of UTF-8 that ``matches`` searches."""


def size(value: Any) -> int:
    """Return how many characters, items or keys there are."""
    if type(value) in (str, list, dict):
        return len(value)
    raise unfit("size", "a string, a list or an object", value)


def contains(text: Any, part: Any) -> bool:
    """Return whether a string contains another."""
    if type(text) is not str or type(part) is not str:
        raise unfit("contains", "two strings", text, part)
    return part in text


def starts_with(text: Any, part: Any) -> bool:
    """Return whether a string begins with another."""
    if type(text) is not str or type(part) is not str:
        raise unfit("startsWith", "two strings", text, part)
    return text.startswith(part)


def ends_with(text: Any, part: Any) -> bool:
    """Return whether a string ends with another."""
    if type(text) is not str or type(part) is not str:
        raise unfit("endsWith", "two strings", text, part)
    return text.endswith(part)


def compile_pattern(pattern: str) -> Any:
    """Return a compiled RE2 pattern; raise :class:`EvaluationError` for a wrong one."""
    import re2  # loaded by the first pattern: it costs as much as all of this package

    if len(pattern) > MAX_PATTERN:
        raise EvaluationError(f"a pattern has at most {MAX_PATTERN} characters")
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True  # ten times as fast, and nobody can see a group
    options.max_mem = 2 << 20
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        text = error.args[0]
        reason = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        raise EvaluationError(f"the pattern is wrong: {reason}") from None
    if compiled.programsize > _MAX_PROGRAM:
        raise EvaluationError("the pattern is too complex")
    return compiled


def search(pattern: Any, text: Any) -> bool:
    """Return whether a compiled pattern matches a part of a string."""
    _wants_strings("matches", text)
    encoded = text.encode()
    if len(encoded) > MAX_MATCHED:
        raise EvaluationError(f"`matches` searches at most {MAX_MATCHED} bytes")
    return pattern.search(text) is not None


def matches(text: Any, pattern: Any) -> bool:
    """Return whether a pattern (RE2) matches a part of a string."""
    _wants_strings("matches", text, pattern)
    return search(compile_pattern(pattern), text)


def lower(text: Any) -> str:
    """Return a string in lower case."""
    _wants_strings("lower", text)
    return _limited(text.lower())


def upper(text: Any) -> str:
    """Return a string in upper case."""
    _wants_strings("upper", text)
    return _limited(text.upper())


def trim(text: Any) -> str:
    """Return a string without the white space at its ends."""
    _wants_strings("trim", text)
    return str(text.strip())


def split(text: Any, separator: Any, most: Any = -1) -> list[str]:
    """Return the parts of a string, at most so many; an empty separator gives the characters."""
    _wants_strings("split", text, separator)
    if type(most) is not int:
        raise unfit("split", "an integer as its limit", most)
    if most == 0:
        return []
    pieces = len(text) if separator == "" else text.count(separator) + 1
    if (pieces if most < 0 else min(pieces, most)) > MAX_ITEMS:
        raise EvaluationError(f"the list would have more than {MAX_ITEMS} items")
    if separator:
        return list(text.split(separator, most - 1 if most > 0 else -1))
    if most < 0 or most >= len(text):
        return list(text)
    return [*text[: most - 1], text[most - 1 :]]


def join(parts: Any, separator: Any = "") -> str:
    """Return the strings of a list as one."""
    if type(parts) is not list:
        raise unfit("join", "a list", parts)
    _wants_strings("join", separator, *parts)
    limit(sum(map(len, parts)) + len(separator) * max(len(parts) - 1, 0))
    return str(separator.join(parts))


def replace(text: Any, old: Any, new: Any, most: Any = -1) -> str:
    """Return a string with one text in place of another, everywhere or the first so many times."""
    _wants_strings("replace", text, old, new)
    if type(most) is not int:
        raise unfit("replace", "an integer as its limit", most)
    count = text.count(old) if most < 0 else min(text.count(old), most)
    limit(len(text) + count * (len(new) - len(old)))
    return str(text.replace(old, new, count))


def substring(text: Any, start: Any, end: Any = None) -> str:
    """Return the characters from one place up to, but not including, another."""
    _wants_strings("substring", text)
    end = len(text) if end is None else end
    if type(start) is not int or type(end) is not int:
        raise unfit("substring", "integers as places", start, end)
    if not 0 <= start <= end <= len(text):
        raise EvaluationError(f"there is no part {start} to {end} in a string of {len(text)} characters")
    return str(text[start:end])


def parse_json(text: Any) -> Any:
    """Return the value that a JSON text stands for."""
    _wants_strings("parse_json", text)
    limit(len(text))
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise EvaluationError(f"the text is not JSON: {error}") from None


def to_json(value: Any) -> str:
    """Return a value as JSON text."""
    charge(Budget(), value)
    try:
        return _limited(msgspec.json.encode(value).decode())
    except (msgspec.MsgspecError, TypeError) as error:
        raise EvaluationError(f"the value is not JSON: {error}") from None


def _limited(text: str) -> str:
    limit(len(text))
    return text


def _wants_strings(name: str, *values: Any) -> None:
    for value in values:
        if type(value) is not str:
            raise EvaluationError(f"`{name}` wants strings, got {kind(value)}")
