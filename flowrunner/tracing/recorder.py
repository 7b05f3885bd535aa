"""What a flow needs of whoever records its spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from flowrunner.tracecontext import TraceContext

type Kind = Literal["internal", "consumer", "producer"]
type Facts = Mapping[str, str | int]


class Span(Protocol):
    """Something that takes time, and is exported when it has ended."""

    @property
    def context(self) -> TraceContext:
        """What makes other spans its children."""

    def end(self, at: int, facts: Facts, *, error: str | None = None) -> None:
        """Note when it ended (nanoseconds since the epoch), and with ``error`` that it failed."""


class Recorder(Protocol):
    """Records spans. None of its methods waits for anything."""

    def start(
        self,
        name: str,
        at: int,
        *,
        kind: Kind = "internal",
        parent: TraceContext | None = None,
        links: Sequence[TraceContext] = (),
        facts: Facts,
    ) -> Span:
        """Begin a span at a time (nanoseconds since the epoch); without a parent it is the first of a new trace."""
