"""``flowrunner doctor``: what is wrong around the flows, and what to do about it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

import msgspec
from pydantic import ValidationError

from flowrunner.checks.connections import check_connections
from flowrunner.checks.machine import check_machine
from flowrunner.checks.state import check_state
from flowrunner.context import Finding
from flowrunner.graph.load import Loaded, load_flows
from flowrunner.settings import Settings

type Findings = list[tuple[str, Finding]]
"""Each with the area that it belongs to."""

_SIGNS = {"ok": "✓", "warning": "!", "error": "✗"}
_PLAIN = {"ok": "ok", "warning": "warning", "error": "ERROR"}
_COLORS = {"ok": "32", "warning": "33", "error": "31"}


def doctor(paths: Sequence[Path], given: Mapping[str, Any], *, format: Literal["text", "json"]) -> int:
    """Print what was found and return the exit code: 1 when something is wrong."""
    found = [("machine", each) for each in check_machine()]
    settings, problems = _settings(given)
    found += [("settings", each) for each in problems]
    if settings is not None:
        found += [("state", each) for each in check_state(settings.state_dir, settings.journal_max_bytes)]
    if paths:
        loaded = load_flows(paths, environment=os.environ, strict_environment=True)
        found += [("flows", each) for each in _flows(loaded)]
        found += connected(loaded, settings.instance if settings is not None else "flowrunner")
    show(found, format=format)
    return int(any(each.level == "error" for _, each in found))


def connected(loaded: Loaded, instance: str) -> Findings:
    """Return what the connections of flows find."""
    found = asyncio.run(check_connections(loaded.graphs, instance))
    return [(name, each) for name, findings in found.items() for each in findings]


def show(found: Findings, *, format: Literal["text", "json"] = "text", to: TextIO | None = None) -> None:
    """Print findings to a stream, by default the standard output."""
    out = to or sys.stdout
    if format == "json":
        plain = [{"area": area, **msgspec.structs.asdict(each)} for area, each in found]
        out.write(json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
        return
    width = max((len(f"{area}: {each.what}") for area, each in found), default=0)
    out.writelines(_line(area, each, width, out) for area, each in found)
    wrong, odd = (sum(each.level == level for _, each in found) for level in ("error", "warning"))
    out.write(f"{len(found)} checks, {wrong} wrong, {odd} to look at\n")


def _line(area: str, finding: Finding, width: int, out: TextIO) -> str:
    line = f"{_sign(finding.level, out)} {f'{area}: {finding.what}'.ljust(width)}  {finding.text}\n"
    return line if finding.help is None or finding.level == "ok" else f"{line}    = help: {finding.help}\n"


def _sign(level: Literal["ok", "warning", "error"], out: TextIO) -> str:
    try:
        sign = _SIGNS[level]
        sign.encode(out.encoding or "utf-8")
    except UnicodeEncodeError:
        sign = _PLAIN[level].ljust(7)
    colored = out.isatty() and not os.environ.get("NO_COLOR")
    return f"\x1b[{_COLORS[level]}m{sign}\x1b[0m" if colored else sign


def _settings(given: Mapping[str, Any]) -> tuple[Settings | None, list[Finding]]:
    try:
        return Settings(**given), [Finding("ok", "environment", "every FLOWRUNNER_ variable can be read")]
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        return None, [_mistake(problem) for problem in problems]


def _mistake(problem: Any) -> Finding:
    name = "FLOWRUNNER_" + "_".join(str(part) for part in problem["loc"]).upper()
    text = str(problem["msg"]).replace("{name}", name)
    return Finding("error", name, text, problem.get("ctx", {}).get("help") or "see docs/operations.md")


def _flows(loaded: Loaded) -> Iterable[Finding]:
    for found in loaded.diagnostics:
        level: Literal["warning", "error"] = "error" if found.severity == "error" else "warning"
        yield Finding(level, f"{found.file}:{found.line}", f"{found.message} [{found.code}]", found.help)
    if not any(found.severity == "error" for found in loaded.diagnostics):
        yield Finding("ok", "files", f"{loaded.flows} flows are valid, their variables and secrets are set")
