"""The work of a node on a batch in which there are messages of traces."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Token
from types import TracebackType
from typing import Any, Self

import structlog

from flowrunner.clock import Clock
from flowrunner.message import Message
from flowrunner.tracecontext import TraceContext
from flowrunner.tracing.recorder import Span
from flowrunner.tracing.trace import Trace

type Part = tuple[Trace, Span, Sequence[Message]]
"""A trace, the span of the work in it, and its messages."""


class Work:
    """Ends the spans of the work, and puts its place into what is logged meanwhile."""

    def __init__(self, parts: Sequence[Part], clock: Clock, names: dict[str, str]) -> None:
        self.error: str | None = None
        """Why it has not succeeded."""
        self.parts = parts
        self._clock = clock
        self._names = names
        self._tokens: dict[str, Token[Any]] = {}

    def context_of(self, message: Message) -> TraceContext | None:
        """Return where a message stands in its trace."""
        return next((span.context for trace, span, _ in self.parts if trace.covers(message)), None)

    def __enter__(self) -> Self:
        context = self.parts[0][1].context
        self._tokens = dict(
            structlog.contextvars.bind_contextvars(
                **self._names, trace_id=context.trace_id, span_id=context.span_id
            )
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        structlog.contextvars.reset_contextvars(**self._tokens)
        now = self._clock.now()
        why = self.error if kind is None else kind.__name__
        for _, span, messages in self.parts:
            span.end(now, {"flowrunner.messages": len(messages)}, error=why)
