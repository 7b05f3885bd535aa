"""An OTLP receiver: takes spans over HTTP, decodes the protobuf, and misbehaves on command."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_SECONDS = 20.0


class Exported:
    """One span as it came in, with identifiers in hexadecimal digits."""

    def __init__(self, span: Any, resource: dict[str, Any]) -> None:
        self.name: str = span.name
        self.kind: int = span.kind
        self.trace_id: str = span.trace_id.hex()
        self.span_id: str = span.span_id.hex()
        self.parent_id: str = span.parent_span_id.hex()
        self.tracestate: str = span.trace_state
        self.start: int = span.start_time_unix_nano
        self.end: int = span.end_time_unix_nano
        self.error: str | None = span.status.message if span.status.code == 2 else None
        self.links: list[str] = [link.span_id.hex() for link in span.links]
        self.facts = facts(span.attributes)
        self.resource = resource


def facts(attributes: Any) -> dict[str, Any]:
    """Return attributes as plain values."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


class Collector:
    """Serves on a free port of the loopback; ``behave`` is asked for the status of each answer and may wait."""

    def __init__(self, behave: Callable[[], int] = lambda: 200) -> None:
        self.spans: list[Exported] = []
        self.raw: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = behave()
                if status == 200:
                    collector.take(body, dict(self.headers.items()), self.path)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def take(self, body: bytes, headers: dict[str, str], path: str) -> None:
        assert path == "/v1/traces"
        plain = gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
        request = ExportTraceServiceRequest.FromString(plain)
        self.raw.append(plain)
        self.headers.append(headers)
        for group in request.resource_spans:
            resource = facts(group.resource.attributes)
            self.spans += [Exported(span, resource) for scope in group.scope_spans for span in scope.spans]

    def named(self, name: str) -> list[Exported]:
        """Return the spans of a name."""
        return [span for span in self.spans if span.name == name]

    def wait(self, *names: str) -> None:
        """Return when there are spans of these names."""
        deadline = time.monotonic() + _SECONDS
        while missing := [name for name in names if not self.named(name)]:
            assert time.monotonic() < deadline, (missing, [span.name for span in self.spans])
            time.sleep(0.02)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
