"""How a line of a file is shown with marks below it."""

from __future__ import annotations

import re
import unicodedata

from flowrunner.diagnostics.diagnostic import Diagnostic

_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_TAB = "    "
_WIDEST = 160
"""Longer lines are cut around the mark: columns."""


def split_lines(text: str) -> list[str]:
    """Return the lines of a text, divided where the YAML parser divides them."""
    return _LINE_BREAK.split(text)


def printable(text: str) -> str:
    """Return the text on one line, without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else _replacement(char) for char in text)


def excerpt(found: Diagnostic, lines: list[str]) -> list[str]:
    """Return the line of a diagnostic and the carets below it, ``[]`` when it has no line."""
    if not 0 < found.line <= len(lines):
        return []
    line = lines[found.line - 1]
    start, end = found.column - 1, max(found.end_column - 1, found.column)
    first = max(0, start - _WIDEST // 3) if len(line) > _WIDEST else 0
    last = first + _WIDEST
    head, marked, tail = (
        _shown(part) for part in (line[first:start], line[start : min(end, last)], line[end:last])
    )
    left, right = "…" if first else "", "…" if len(line) > last else ""
    carets = "^" * max(_width(marked), 1)
    return [(left + head + marked + tail).rstrip() + right, " " * _width(left + head) + carets]


def _shown(text: str) -> str:
    return "".join(_TAB if char == "\t" else char if char.isprintable() else "·" for char in text)


def _replacement(char: str) -> str:
    return {"\n": "⏎", "\t": " "}.get(char, "·")


def _width(text: str) -> int:
    """Return the number of terminal columns: none for combining marks, two for wide characters."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
