"""Recorded input: JSON Lines, each a message as it would stand in ``input``, with ``at`` from the recording's start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from flowrunner.config.report import Report
from flowrunner.config.sentences import sentence
from flowrunner.diagnostics import Span
from flowrunner.testing.model import MessageStep

_MOST_REPORTED = 5
_HELP = 'a line is a message, such as {"at": "30s", "node": "zigbee", "topic": "kitchen", "payload": 21.5}'


class Recording(msgspec.Struct, frozen=True):
    """A recording that was read: its messages, and the line on which each stands."""

    path: Path
    messages: list[MessageStep]
    lines: list[int]


def read_recording(path: Path, report: Report) -> Recording:
    """Return the messages of a recording; the first few lines with mistakes are reported."""
    messages: list[MessageStep] = []
    lines: list[int] = []
    wrong = 0
    try:
        data = path.read_bytes()
    except OSError as error:
        report.file("FR061", f"the file cannot be read: {error.strerror}", help="check its permissions")
        data = b""
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            messages.append(MessageStep.model_validate(msgspec.json.decode(line)))
            lines.append(number)
        except ValidationError as refused:
            message, help = _explain(refused.errors(include_url=False)[0])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            message, help = f"the line is not JSON: {error}", _HELP
        else:
            continue
        wrong += 1
        if wrong <= _MOST_REPORTED:
            end = len(line.decode(errors="replace")) + 1
            report.add("FR073", Span(number, 1, end), message, help=help)
    return Recording(path, messages, lines)


def _explain(error: Mapping[str, Any]) -> tuple[str, str]:
    name = str(error["loc"][-1]) if error["loc"] else "a line"
    facts = error.get("ctx", {})
    if error["type"] == "missing":
        return f"a message needs `{name}`", _HELP
    if error["type"] == "extra_forbidden":
        return f"a message has no `{name}`", _HELP
    if "text" in facts:
        return facts["text"].replace("{name}", name), facts.get("help") or _HELP
    _, message, help = sentence(error, name, str(error.get("input")), hidden=False)
    return message, help or _HELP
