"""``flowrunner plan``: what a reload from one set of flow files to another would do."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Literal

import msgspec

from flowrunner.cli.exits import EX_CONFIG, complain
from flowrunner.cli.revisions import RevisionError, unpack
from flowrunner.diagnostics import render_text
from flowrunner.graph.build import Graph
from flowrunner.graph.load import Loaded, load_flows
from flowrunner.graph.plan_text import plan_json, plan_markdown, plan_text
from flowrunner.graph.rollout import roll_out

type Format = Literal["text", "json", "markdown"]


class _Side(msgspec.Struct, frozen=True):
    """One of the two sets of files: where it lies, and what it is called."""

    path: Path
    name: str
    loaded: Loaded


def plan(old: str, new: str, *, format: Format) -> int:
    """Print what going over from ``old`` to ``new`` does; each is a file, a directory, or a git revision ``REV:PATH``.

    Returns 0, or 78 when ``new`` has mistakes: the plan then says what becomes of the other flows.
    """
    with tempfile.TemporaryDirectory(prefix="flowrunner-plan-") as folder:
        try:
            before, after = _side(old, Path(folder, "old")), _side(new, Path(folder, "new"))
        except RevisionError as error:
            return complain(str(error), help=error.help)
    sys.stderr.write(_note(before))
    plans = roll_out(_running(before, after), after.loaded)
    errors = [found for found in after.loaded.diagnostics if found.severity == "error"]
    if format == "json":
        text = plan_json(plans, after.loaded.diagnostics)
    elif format == "markdown":
        text = plan_markdown(plans, after.loaded.diagnostics, after.loaded.texts)
    else:
        text = plan_text(plans, color=_colored(sys.stdout.isatty()))
        said = render_text(errors, after.loaded.texts, color=_colored(sys.stderr.isatty()))
        sys.stderr.write(said + "\n" if said else "")
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    return EX_CONFIG if errors else 0


def _side(argument: str, folder: Path) -> _Side:
    path = Path(argument)
    if path.exists():
        return _Side(path, argument, load_flows([path], environment=os.environ))
    if ":" not in argument:
        raise RevisionError(
            f"there is no file or directory `{argument}`", "a git revision is named as HEAD~1:flows"
        )
    folder.mkdir()
    place = unpack(argument, folder)
    return _Side(place, argument, _renamed(load_flows([place], environment=os.environ), place, argument))


def _renamed(loaded: Loaded, place: Path, name: str) -> Loaded:
    """Return what was loaded with files called as in the argument, and not by where they were unpacked."""

    def called(text: str) -> str:
        return text.replace(str(place), name)

    graphs = {
        key: msgspec.structs.replace(graph, file=called(graph.file)) for key, graph in loaded.graphs.items()
    }
    diagnostics = [
        msgspec.structs.replace(found, file=called(found.file), message=called(found.message))
        for found in loaded.diagnostics
    ]
    texts = {called(file): text for file, text in loaded.texts.items()}
    names = {called(file): flow for file, flow in loaded.names.items()}
    return Loaded(graphs, loaded.flows, diagnostics, texts, names)


def _running(before: _Side, after: _Side) -> dict[str, Graph]:
    """Return the old flows as if they had been loaded from where the new files are."""
    return {
        name: msgspec.structs.replace(graph, file=after.name + graph.file.removeprefix(before.name))
        for name, graph in before.loaded.graphs.items()
    }


def _note(before: _Side) -> str:
    errors = sum(found.severity == "error" for found in before.loaded.diagnostics)
    if not errors:
        return ""
    count = f"{errors} error{'s' if errors > 1 else ''}"
    return f"note: `{before.name}` has {count}; its flows with mistakes count as not running\n"


def _colored(terminal: bool) -> bool:
    return terminal and not os.environ.get("NO_COLOR")
