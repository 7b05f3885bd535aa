"""One version of a flow as it came to be applied or not: what is told of it afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from flowrunner.diagnostics import Diagnostic
from flowrunner.graph.build import Graph
from flowrunner.graph.diff import Plan
from flowrunner.graph.load import Loaded
from flowrunner.graph.rollout import FlowPlan, in_doubt

type Result = Literal["applied", "refused", "failed", "rolled_back"]
"""*refused*: its file has a mistake. *failed*: it is valid and could not be started. *rolled_back*: the flow could not go
over to it, and goes on as it was."""

_NOT_UNDERSTOOD = frozenset(
    {f"FR{number:03}" for number in range(1, 12) if number != 9}
    | {"FR020", "FR021", "FR022", "FR051", "FR053", "FR061"}
)
"""Mistakes after which nobody can say which of the values in a file are secrets."""

_NO_FILE = ("FR060", "FR062")
"""Mistakes in what is to be loaded, and in no flow."""


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a flow and what became of it."""

    flow: str
    time: int
    """When it was applied or not, nanoseconds since the epoch."""
    result: Result
    file: str
    hash: str | None
    """What `/api/v1/flows` calls the hash of a flow; of a refused one the SHA-256 of its text; ``None`` without any."""
    reason: str | None = None
    """Why it was not applied, in words."""
    diagnostics: tuple[Diagnostic, ...] = ()
    plan: Plan | None = None
    """What it did with each node, or would have done; ``None`` for one with mistakes."""
    source: str | None = None
    """The file before variables were put in, literal secrets made unreadable; ``None`` when none is left, or when its
    mistakes leave open what in it is a secret."""

    def repeats(self, other: Revision | None) -> bool:
        """Whether this says no more than another one does."""
        return other is not None and self.said == other.said

    @property
    def said(self) -> tuple[object, ...]:
        """What it tells but for the time, and what follows from the rest."""
        found = tuple((each.code, each.line, each.message) for each in self.diagnostics)
        return self.flow, self.result, self.file, self.hash, self.reason, found


def revision(
    step: FlowPlan, loaded: Loaded, result: Result, time: int, reason: str | None = None
) -> Revision:
    """Return the record of a step of a reload."""
    graph = loaded.graphs.get(step.flow)
    found = tuple(each for each in loaded.diagnostics if each.file == step.file)
    return Revision(
        flow=step.flow,
        time=time,
        result=result,
        file=step.file,
        hash=None if graph is None else graph.digest,
        reason=reason,
        diagnostics=found,
        plan=step.plan,
        # With errors in the file it is the last good version that was started, and its text is not at hand.
        source=None if graph is None or _has_errors(found) else loaded.texts.get(step.file),
    )


def refusals(running: Mapping[str, Graph], loaded: Loaded, time: int) -> Iterator[Revision]:
    """Yield the records of what mistakes have kept out: running flows that stay as they are, then other files."""
    errors = [found for found in loaded.diagnostics if found.severity == "error"]
    told: set[str] = set()
    for name, graph in running.items():
        if name not in loaded.graphs and in_doubt(graph, loaded):
            own = [found for found in errors if found.file == graph.file]
            told |= {found.file for found in own or errors}
            yield _refused(name, graph.file, own or errors, loaded, time)
    others = [found.file for found in errors if found.file not in told and found.code not in _NO_FILE]
    for file in dict.fromkeys(others):
        name = loaded.names.get(file) or Path(file).stem
        yield _refused(name, file, [found for found in errors if found.file == file], loaded, time)


def _refused(name: str, file: str, errors: list[Diagnostic], loaded: Loaded, time: int) -> Revision:
    text = loaded.texts.get(file)
    return Revision(
        flow=name,
        time=time,
        result="refused",
        file=file,
        hash=None if text is None else hashlib.sha256(text.encode(errors="replace")).hexdigest(),
        reason=errors[0].message,
        diagnostics=tuple(errors),
        source=_source(file, loaded),
    )


def _source(file: str, loaded: Loaded) -> str | None:
    """Return the text of a file with mistakes, unless they leave open what in it is a secret."""
    if any(found.file == file and found.code in _NOT_UNDERSTOOD for found in loaded.diagnostics):
        return None
    return loaded.texts.get(file)


def _has_errors(found: Iterable[Diagnostic]) -> bool:
    return any(each.severity == "error" for each in found)
