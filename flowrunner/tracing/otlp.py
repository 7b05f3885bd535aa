"""Spans recorded with the OpenTelemetry SDK. Imported only where traces are exported: the SDK is an extra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace import Span as ApiSpan

from flowrunner.tracecontext import TraceContext
from flowrunner.tracing.export import ExportQueue
from flowrunner.tracing.recorder import Facts, Kind, Span

_KINDS = {"internal": SpanKind.INTERNAL, "consumer": SpanKind.CONSUMER, "producer": SpanKind.PRODUCER}
_LONGEST_WORDS = 500


class OtlpSpan:
    """A span of the SDK."""

    def __init__(self, span: ApiSpan) -> None:
        self._span = span
        context = span.get_span_context()
        self.context = TraceContext(
            f"{context.trace_id:032x}", f"{context.span_id:016x}", context.trace_state.to_header()
        )

    def end(self, at: int, facts: Facts, *, error: str | None = None) -> None:
        """Note when it ended, and with ``error`` that it failed."""
        self._span.set_attributes(facts)
        if error is not None:
            self._span.set_status(Status(StatusCode.ERROR, error[:_LONGEST_WORDS]))
        self._span.end(at)


class OtlpRecorder:
    """Records spans and hands them to a queue when they have ended."""

    def __init__(self, queue: ExportQueue[ReadableSpan], resource: Mapping[str, str]) -> None:
        provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource.create(resource), shutdown_on_exit=False
        )
        provider.add_span_processor(_Handover(queue))
        self._tracer = provider.get_tracer("flowrunner", resource["service.version"])

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
        """Begin a span."""
        above = None if parent is None else set_span_in_context(NonRecordingSpan(_remote(parent)))
        return OtlpSpan(
            self._tracer.start_span(
                name,
                context=above,
                kind=_KINDS[kind],
                attributes=facts,
                links=[Link(_remote(each)) for each in links],
                start_time=at,
            )
        )


class OtlpSender:
    """Sends spans to a collector; where and how, the environment says."""

    def __init__(self) -> None:
        self._exporter = OTLPSpanExporter()

    def send(self, spans: Sequence[ReadableSpan]) -> bool:
        """Return whether the collector has taken them; after some attempts, each with a longer pause."""
        return self._exporter.export(spans) is SpanExportResult.SUCCESS

    def hurry(self) -> None:
        """Make no further attempt."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK's


class _Handover(SpanProcessor):
    def __init__(self, queue: ExportQueue[ReadableSpan]) -> None:
        self._queue = queue

    def on_start(self, span: SdkSpan, parent_context: object = None) -> None:
        """Do nothing: only what has ended is exported."""

    def on_end(self, span: ReadableSpan) -> None:
        """Hand a span over."""
        self._queue.put(span)


def _remote(context: TraceContext) -> SpanContext:
    state = TraceState.from_header([context.tracestate]) if context.tracestate else None
    return SpanContext(
        int(context.trace_id, 16), int(context.span_id, 16), True, TraceFlags(TraceFlags.SAMPLED), state
    )
