"""A recorder that keeps its spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowrunner import TraceContext
from flowrunner.tracing.recorder import Facts, Kind


class KeptSpan:
    """A span with everything that it was told."""

    def __init__(self, number: int, name: str, at: int, **told: Any) -> None:
        self.name, self.start, self.told = name, at, told
        parent: TraceContext | None = told["parent"]
        self.context = TraceContext(
            f"{number:032x}" if parent is None else parent.trace_id,
            f"{number:016x}",
            "" if parent is None else parent.tracestate,
        )
        self.parent_id = None if parent is None else parent.span_id
        self.links = [link.span_id for link in told["links"]]
        self.ends: list[tuple[int, dict[str, Any], str | None]] = []

    @property
    def facts(self) -> dict[str, Any]:
        return {**self.told["facts"], **self.ends[0][1]}

    @property
    def error(self) -> str | None:
        return self.ends[0][2]

    def end(self, at: int, facts: Facts, *, error: str | None = None) -> None:
        self.ends.append((at, dict(facts), error))


class Recording:
    """Numbers its spans."""

    def __init__(self) -> None:
        self.spans: list[KeptSpan] = []

    def start(
        self,
        name: str,
        at: int,
        *,
        kind: Kind = "internal",
        parent: TraceContext | None = None,
        links: Sequence[TraceContext] = (),
        facts: Facts,
    ) -> KeptSpan:
        told = {"kind": kind, "parent": parent, "links": links, "facts": facts}
        self.spans.append(KeptSpan(len(self.spans) + 1, name, at, **told))
        return self.spans[-1]

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]

    def named(self, name: str) -> list[KeptSpan]:
        return [span for span in self.spans if span.name == name]
