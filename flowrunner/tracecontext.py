"""W3C trace context: which trace something belongs to, as senders and receivers tell it to each other."""

from __future__ import annotations

import re

import msgspec

_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE = re.compile(r"[\x20-\x7e]{1,512}")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_SAMPLED = 1


class TraceContext(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A place in a trace that is recorded: identifiers in hexadecimal digits, and ``tracestate`` as it came."""

    trace_id: str
    span_id: str
    tracestate: str = ""
    records: int = 1
    """How many records of the journal, from the one that carries it on, belong to it."""

    @classmethod
    def read(cls, traceparent: str | None, tracestate: str | None = None) -> TraceContext | None:
        """Return what two headers say; ``None`` when they are missing or malformed, or the trace is not recorded."""
        found = _PARENT.fullmatch(traceparent or "")
        if found is None or (found[1] == "00" and found[5]):
            return None
        if found[2] == _NO_TRACE or found[3] == _NO_SPAN or not int(found[4], 16) & _SAMPLED:
            return None
        state = (tracestate or "").strip()
        return cls(found[2], found[3], state if _STATE.fullmatch(state) else "")

    def headers(self) -> dict[str, str]:
        """Return the headers, or properties of a message, that tell a receiver of it."""
        headers = {"traceparent": f"00-{self.trace_id}-{self.span_id}-01"}
        return headers | {"tracestate": self.tracestate} if self.tracestate else headers
