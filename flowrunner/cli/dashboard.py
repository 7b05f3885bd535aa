"""``flowrunner dashboard``: Grafana dashboards and Prometheus alert rules, for all flows or for some."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic_core import PydanticCustomError

from flowrunner.cli.exits import EX_CONFIG, EX_USAGE, complain
from flowrunner.dashboards.alerts import Limits, alerts_text
from flowrunner.dashboards.flow import flow_dashboard
from flowrunner.dashboards.influx import Language
from flowrunner.dashboards.overview import OVERVIEW
from flowrunner.diagnostics import render_text
from flowrunner.graph.build import Graph
from flowrunner.graph.load import load_flows
from flowrunner.message import NANOSECONDS
from flowrunner.options import format_duration, parse_duration

_FLOWS = Path("flows")


def dashboard(
    wanted: str | None, *, out: Path | None, language: Language, limits: Limits, check: bool
) -> int:
    """Write or print dashboards and rules and return the exit code.

    ``wanted`` is a flow file, a directory of them or the name of a flow; without it the dashboard is that of all flows.
    """
    if check and out is None:
        return complain("--check needs something to check", help="add --out DIR")
    if wanted is None:
        files = {"flowrunner.json": OVERVIEW.text(), "alerts.yaml": alerts_text(limits=limits)}
    else:
        graphs = _load(wanted)
        if isinstance(graphs, int):
            return graphs
        files = {}
        for name, graph in graphs.items():
            files[f"{name}.json"] = flow_dashboard(graph, language).text()
            files[f"{name}.alerts.yaml"] = alerts_text(name, limits)
    if out is None:
        return _print(files)
    return _differing(out, files) if check else _write(out, files)


def read_limits(max_lag: str, max_silence: str) -> Limits | int:
    """Return the limits of alerts, or the exit code after having said what is wrong with them."""
    seconds = []
    for option, text in (("--max-lag", max_lag), ("--max-silence", max_silence)):
        try:
            seconds.append(parse_duration(text) // NANOSECONDS)
        except PydanticCustomError as error:
            facts = error.context or {}
            problem = str(facts.get("text")).replace("`{name}`", option)
            return complain(problem, help=facts.get("help"))
        if not seconds[-1]:
            return complain(f"{option} must be a second at least, got {text}")
    return Limits(seconds[0], format_duration(seconds[1] * NANOSECONDS))


def _load(wanted: str) -> dict[str, Graph] | int:
    """Return the flows that are meant, or the exit code after having said what is wrong."""
    path, name = Path(wanted), None
    if not path.exists():
        path, name = _FLOWS if _FLOWS.is_dir() else Path(), wanted
    loaded = load_flows([path], environment=os.environ)
    errors = [found for found in loaded.diagnostics if found.severity == "error"]
    if errors and name not in loaded.graphs:
        sys.stderr.write(render_text(errors, loaded.texts))
        return EX_USAGE if any(found.code == "FR060" for found in errors) else EX_CONFIG
    if name is None:
        return loaded.graphs or complain(f"there is no flow in {path}", code=EX_CONFIG)
    if name not in loaded.graphs:
        there = ", ".join(loaded.graphs) or "none"
        return complain(
            f"there is no file and no flow `{name}`", help=f"the flows in {path.resolve()} are: {there}"
        )
    return {name: loaded.graphs[name]}


def _print(files: Mapping[str, str]) -> int:
    """Print the only dashboard; rules and several dashboards go into files."""
    dashboards = [text for name, text in files.items() if name.endswith(".json")]
    if len(dashboards) > 1:
        return complain("there are several flows", help="name one flow, or a directory with --out DIR")
    sys.stdout.write(dashboards[0])
    return 0


def _write(folder: Path, files: Mapping[str, str]) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
            sys.stdout.write(f"{folder / name}\n")
    except OSError as error:
        return complain(
            f"cannot write into {folder}: {error.strerror or error}", help="name another directory"
        )
    return 0


def _differing(folder: Path, files: Mapping[str, str]) -> int:
    stale = [folder / name for name, text in files.items() if _read(folder / name) != text]
    if not stale:
        return 0
    return complain(
        f"not up to date: {', '.join(map(str, stale))}", help="write them again without --check", code=1
    )


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
