"""Diagnostics as text for people, and as JSON, GitHub annotations and SARIF for other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from flowrunner.diagnostics.codes import code_info
from flowrunner.diagnostics.diagnostic import Diagnostic
from flowrunner.diagnostics.source import excerpt, printable, split_lines

_RED, _YELLOW, _BLUE, _BOLD, _PLAIN = "\x1b[1;31m", "\x1b[1;33m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"


def render_text(found: Sequence[Diagnostic], texts: Mapping[str, str], *, color: bool = False) -> str:
    """Return diagnostics with the lines that they are about; ``texts`` are the files by name."""
    lines = {name: split_lines(text) for name, text in texts.items()}
    return "\n".join(_text(each, lines.get(each.file, []), color=color) for each in found)


def _text(found: Diagnostic, lines: list[str], *, color: bool) -> str:
    def painted(text: str, paint: str) -> str:
        return f"{paint}{text}{_PLAIN}" if color else text

    place = f"{found.file}:{found.line}:{found.column}" if found.line else found.file
    head = painted(f"{found.severity}[{found.code}]", _RED if found.severity == "error" else _YELLOW)
    out = f"{place}: {head}: {painted(printable(found.message), _BOLD)}\n"
    number = str(found.line)
    margin = " " * len(number)
    bar = painted("|", _BLUE)
    if shown := excerpt(found, lines):
        source, carets = shown
        marks = carets.replace("^", "") + painted("^" * carets.count("^"), _RED)
        out += f"{margin} {bar}\n{painted(number, _BLUE)} {bar} {source}\n{margin} {bar} {marks}\n"
    if found.help is not None:
        out += f"{margin} {painted('=', _BLUE)} help: {printable(found.help)}\n"
    return out


def render_json(found: Sequence[Diagnostic]) -> str:
    """Return a list of objects with the fields of :class:`Diagnostic`."""
    return json.dumps([msgspec.to_builtins(each) for each in found], indent=2, ensure_ascii=False) + "\n"


def render_github(found: Sequence[Diagnostic]) -> str:
    """Return workflow commands that GitHub shows as annotations of a pull request."""
    return "".join(_github(each) + "\n" for each in found)


def _github(found: Diagnostic) -> str:
    facts: dict[str, object] = {"file": found.file}
    if found.line:
        facts |= {"line": found.line, "col": found.column, "endColumn": found.end_column}
    facts["title"] = f"{found.code} {code_info(found.code).title}"
    text = found.message if found.help is None else f"{found.message}\nhelp: {found.help}"
    properties = ",".join(f"{name}={_escape(str(value), ':,')}" for name, value in facts.items())
    return f"::{found.severity} {properties}::{_escape(text, '')}"


def _escape(text: str, more: str) -> str:
    for char in "%\r\n" + more:
        text = text.replace(char, f"%{ord(char):02X}")
    return text


def render_sarif(found: Sequence[Diagnostic], version: str) -> str:
    """Return a SARIF 2.1.0 log; ``version`` is flowrunner's own."""
    used = sorted({each.code for each in found})
    driver = {"name": "flowrunner", "version": version, "rules": [_rule(code) for code in used]}
    results = [_result(each, used.index(each.code)) for each in found]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    log = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _rule(code: str) -> dict[str, Any]:
    info = code_info(code)
    return {
        "id": code,
        "shortDescription": {"text": f"{info.title}."},
        "help": {"text": f"See docs/diagnostics/{code}.md."},
        "defaultConfiguration": {"level": info.severity},
    }


def _result(found: Diagnostic, index: int) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(found.file)}}
    if found.line:
        region = {"startLine": found.line, "startColumn": found.column, "endColumn": found.end_column}
        place["region"] = region
    return {
        "ruleId": found.code,
        "ruleIndex": index,
        "level": found.severity,
        "message": {"text": found.message if found.help is None else f"{found.message}. Help: {found.help}."},
        "locations": [{"physicalLocation": place}],
    }


def _uri(file: str) -> str:
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
