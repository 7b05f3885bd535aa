"""What to say when a file is not YAML: the common mistakes, each with its remedy."""

from __future__ import annotations

import re

import yaml

from flowrunner.config.report import Report
from flowrunner.diagnostics import Span

TAG_HELP = "write the value without it; a text that begins with ! must stand in quotes"

_QUOTE = "write the whole value in quotes"
_BY_START = {
    "\t": ("tabs cannot indent YAML", "indent with spaces"),
    "*": ("a value cannot begin with `*`", 'write it in quotes: "*"'),
    "@": ("a value cannot begin with `@`", _QUOTE),
    "%": ("a value cannot begin with `%`", _QUOTE),
    "!": ("a value cannot begin with `!`", _QUOTE),
    "&": ("a value cannot begin with `&`", _QUOTE),
    "`": ("a value cannot begin with a backquote", _QUOTE),
}
_BY_PROBLEM = [
    ("unexpected end of stream", "a quoted text has no end", "close the quotes"),
    (
        "unknown escape",
        "there is no such escape in double quotes",
        r"write \\ for a backslash, or use single quotes",
    ),
    (
        "entries are not allowed",
        "a list cannot begin on the line of its key",
        "begin it on the next line, or write [a, b]",
    ),
    ("',' or ']'", "the list in brackets has no end", "separate values with commas and close it with ]"),
    ("',' or '}'", "the mapping in braces has no end", "separate entries with commas and close it with }"),
    ("comment or", "a value cannot begin with `>` or `|`", _QUOTE),
    ("directive", "a line cannot begin with `%`", _QUOTE),
    ("document start", "text stands after the end of the document", "put each flow into a file of its own"),
]
_SPECIAL = re.compile(r"\s*(?:- )*(?:[\w.-]+:\s+)?(?P<char>[!&*])\S")
_NO_SPACE = re.compile(r"\s*(?:- )?[A-Za-z_]\w*:[^\s/]")
_TEXT_AFTER_QUOTES = re.compile(r"""\s*(?:- |\w+:\s)\s*(?:"[^"]*"|'[^']*')\s*[^\s#]""")


def explain_syntax(error: yaml.MarkedYAMLError, lines: list[str], report: Report) -> None:
    """Report a syntax error in our words, at the place where the reader would look for it."""
    mark = error.problem_mark or error.context_mark
    problem = error.problem or ""
    if any(word in problem for word in ("end of stream", "',' or")) and error.context_mark is not None:
        mark = error.context_mark
    row, column = (mark.line, mark.column) if mark is not None else (0, 0)
    row = min(row, len(lines) - 1)
    if column == 0 and row > 0 and not lines[row]:
        row, column = row - 1, max(len(lines[row - 1]) - 1, 0)
    if "alias" in (error.context or ""):
        column = lines[row].rfind("*", 0, column + 1)
    elif "anchor" in (error.context or "") and (special := _SPECIAL.match(lines[row])) is not None:
        column = special.start("char")
    message, help = _explain(problem, row, column, lines)
    report.add("FR001", Span(row + 1, column + 1, column + 2), message, help=help)


def _explain(problem: str, row: int, column: int, lines: list[str]) -> tuple[str, str]:
    line = lines[row]
    if "undefined tag" in problem:
        return "the YAML tag is not supported", TAG_HELP
    if line[column : column + 1] in _BY_START:
        return _BY_START[line[column]]
    if "mapping values" in problem:
        return _mapping_value(row, column, lines)
    for words, message, help in _BY_PROBLEM:
        if words in problem:
            return message, help
    if _TEXT_AFTER_QUOTES.match(line):
        return (
            "text follows the closing quote",
            "write the whole value in one pair of quotes, such as '\"a\" == b'",
        )
    return "the indentation does not fit the lines above", "align the keys of one mapping in one column"


def _mapping_value(row: int, column: int, lines: list[str]) -> tuple[str, str]:
    line = lines[row]
    if row > 0 and _NO_SPACE.match(lines[row - 1]):
        return "a colon in the line above has no space after it", "write `key: value`"
    if ": " in line[:column] or line[:column].lstrip().startswith("- "):
        return "a value with `: ` in it must stand in quotes", _QUOTE
    return (
        "this line is indented deeper than the value above allows",
        "align the keys of one mapping in one column",
    )
