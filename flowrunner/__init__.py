"""flowrunner's public API: everything that a node type in another package needs, and nothing else."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowrunner.clock import NEVER, Clock, SystemClock
    from flowrunner.context import (
        Connection,
        ConnectionContext,
        Context,
        Finding,
        Logger,
        SourceContext,
        Status,
    )
    from flowrunner.counters import Counters
    from flowrunner.errors import FlowrunnerError, JournalFull, MessageError, NodeFailed, RetryLater
    from flowrunner.expression import EVALUATION_ERRORS, Expression, FunctionCall, Value
    from flowrunner.message import NANOSECONDS, NO_META, Json, Message, Record
    from flowrunner.node import BufferOptions, ConnectionName, Limits, NodeOptions, Sink, Source, Transform
    from flowrunner.options import (
        Duration,
        FileName,
        Options,
        PositiveDuration,
        Secret,
        Size,
        format_duration,
        option_error,
    )
    from flowrunner.registry import connection_type, node_type
    from flowrunner.timers import Timers
    from flowrunner.tracecontext import TraceContext
    from flowrunner.webhooks import WebhookHandler, WebhookRefused, WebhookRequest

__all__ = [
    "EVALUATION_ERRORS",
    "NANOSECONDS",
    "NEVER",
    "NO_META",
    "BufferOptions",
    "Clock",
    "Connection",
    "ConnectionContext",
    "ConnectionName",
    "Context",
    "Counters",
    "Duration",
    "Expression",
    "FileName",
    "Finding",
    "FlowrunnerError",
    "FunctionCall",
    "JournalFull",
    "Json",
    "Limits",
    "Logger",
    "Message",
    "MessageError",
    "NodeFailed",
    "NodeOptions",
    "Options",
    "PositiveDuration",
    "Record",
    "RetryLater",
    "Secret",
    "Sink",
    "Size",
    "Source",
    "SourceContext",
    "Status",
    "SystemClock",
    "Timers",
    "TraceContext",
    "Transform",
    "Value",
    "WebhookHandler",
    "WebhookRefused",
    "WebhookRequest",
    "connection_type",
    "format_duration",
    "node_type",
    "option_error",
]

_MODULES = (
    "message",
    "clock",
    "errors",
    "options",
    "registry",
    "counters",
    "timers",
    "context",
    "node",
    "expression",
    "webhooks",
    "tracecontext",
)


def __getattr__(name: str) -> Any:
    """Import a name of the public API when it is first used: ``flowrunner --help`` uses none."""
    if name in __all__:
        for module in _MODULES:
            found = getattr(import_module(f"flowrunner.{module}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
