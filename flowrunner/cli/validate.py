"""``flowrunner validate``: every mistake in every file, offline."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from flowrunner.diagnostics import render_github, render_json, render_sarif, render_text
from flowrunner.graph.load import Loaded, load_flows

type Format = Literal["text", "json", "github", "sarif"]

EX_USAGE = 2
EX_CONFIG = 78
"""sysexits.h: something is wrong in a configuration file."""


def validate(
    paths: Sequence[Path],
    *,
    format: Format = "text",
    strict: bool = False,
    env: bool = False,
    connect: bool = False,
) -> int:
    """Print the diagnostics of the flow files at ``paths`` and return the exit code.

    0 when all are valid, 78 when there are errors (with ``strict``: or warnings), 2 when a path does not exist.
    ``env`` requires the variables and secrets that the flows name, and ``connect`` that their servers are there too.
    """
    loaded = load_flows(paths, environment=os.environ, strict_environment=env or connect)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(_render(loaded, format).encode(encoding, "backslashreplace").decode(encoding))
    if any(found.code == "FR060" for found in loaded.diagnostics):
        return EX_USAGE
    wrong = (
        loaded.diagnostics if strict else [found for found in loaded.diagnostics if found.severity == "error"]
    )
    return EX_CONFIG if wrong or (connect and not _connects(loaded)) else 0


def _connects(loaded: Loaded) -> bool:
    """Say on standard error what the servers answer, and return whether all is well."""
    from flowrunner.cli.doctor import connected, show
    from flowrunner.settings import Settings

    found = connected(loaded, Settings().instance)
    show(found, to=sys.stderr)
    return all(finding.level != "error" for _, finding in found)


def _render(loaded: Loaded, format: Format) -> str:
    match format:
        case "json":
            return render_json(loaded.diagnostics)
        case "github":
            return render_github(loaded.diagnostics)
        case "sarif":
            return render_sarif(loaded.diagnostics, version("flowrunner-engine"))
        case "text":
            color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
            text = render_text(loaded.diagnostics, loaded.texts, color=color)
            return f"{text}{'\n' if text else ''}{summary(loaded)}\n"


def summary(loaded: Loaded) -> str:
    """Return how many flows were read and how many mistakes they have, in words."""
    counts = [_count(loaded.flows, "flow")]
    for severity in ("error", "warning"):
        of_kind = [found for found in loaded.diagnostics if found.severity == severity]
        if of_kind or severity == "error":
            counts.append(_count(len(of_kind), severity))
    return ", ".join(counts)


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
