"""W3C trace context: what is read of headers, and what is told."""

from __future__ import annotations

import pytest

from flowrunner import TraceContext

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("traceparent", "tracestate", "expected"),
    [
        pytest.param(f"00-{TRACE}-{SPAN}-01", None, (TRACE, SPAN, ""), id="sampled"),
        pytest.param(f"00-{TRACE}-{SPAN}-03", None, (TRACE, SPAN, ""), id="other flags too"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01", None, (TRACE, SPAN, ""), id="a later version"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01-more", None, (TRACE, SPAN, ""), id="a later version says more"),
        pytest.param(f"00-{TRACE}-{SPAN}-01", " a=1,b=2 ", (TRACE, SPAN, "a=1,b=2"), id="state"),
        pytest.param(f"00-{TRACE}-{SPAN}-01", "ä", (TRACE, SPAN, ""), id="state of other characters"),
        pytest.param(f"00-{TRACE}-{SPAN}-01", "x" * 513, (TRACE, SPAN, ""), id="state too long"),
        pytest.param(f"00-{TRACE}-{SPAN}-01", "a=1\nb", (TRACE, SPAN, ""), id="state of two lines"),
        pytest.param(f"00-{TRACE}-{SPAN}-00", "a=1", None, id="not sampled"),
        pytest.param(f"00-{TRACE}-{SPAN}-01-more", None, None, id="version 00 says no more"),
        pytest.param(f"ff-{TRACE}-{SPAN}-01", None, None, id="no version"),
        pytest.param(f"00-{TRACE.upper()}-{SPAN}-01", None, None, id="capitals"),
        pytest.param(f"00-{'0' * 32}-{SPAN}-01", None, None, id="no trace"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", None, None, id="no span"),
        pytest.param(f"00-{TRACE[1:]}-{SPAN}-01", None, None, id="too short"),
        pytest.param(f"00-{TRACE}-{SPAN}-01\n", None, None, id="a line"),
        pytest.param("", "a=1", None, id="empty"),
        pytest.param(None, None, None, id="nothing"),
    ],
)
def test_only_a_well_formed_context_of_a_sampled_trace_is_read(
    traceparent: str | None, tracestate: str | None, expected: tuple[str, str, str] | None
) -> None:
    found = TraceContext.read(traceparent, tracestate)

    assert expected == (None if found is None else (found.trace_id, found.span_id, found.tracestate))


@pytest.mark.parametrize(("state", "more"), [("", {}), ("a=1", {"tracestate": "a=1"})])
def test_what_is_told_can_be_read_again(state: str, more: dict[str, str]) -> None:
    context = TraceContext(TRACE, SPAN, state)

    headers = context.headers()
    assert {"traceparent": f"00-{TRACE}-{SPAN}-01", **more} == headers
    assert context == TraceContext.read(headers["traceparent"], headers.get("tracestate"))
