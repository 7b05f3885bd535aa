"""Set up structlog for the process, and the standard logging of libraries behind it."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog

from flowrunner.clock import Clock
from flowrunner.log.repeats import CAUSE, Repeats
from flowrunner.log.writer import Writer


def _in_order(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put what every line has in front, and leave out facts that are not there."""
    first = {name: event.pop(name) for name in ("timestamp", "level", "event")}
    return first | {name: value for name, value in event.items() if value is not None}


def configure(
    clock: Clock,
    style: Literal["auto", "json", "console"] = "auto",
    level: Literal["debug", "info", "warning", "error"] = "info",
    stream: TextIO | None = None,
) -> Any:
    """Set up logging for the process and return the logger that the engine is given."""
    stream = sys.stdout if stream is None else stream
    console = style == "console" or (style == "auto" and stream.isatty())
    render: Any = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty())
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=True)
    )
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    repeats = Repeats(clock)

    def finish(event: dict[str, Any]) -> str:
        level = event["level"]
        return str(render(None, level, _in_order(None, level, stamp(None, level, event))))

    def notice(dropped: int) -> str:
        return finish({"level": "warning", "event": "log lines dropped", "lines": dropped})

    writer = Writer(stream, notice, lambda end: [finish(event) for event in repeats.overdue(end=end)])
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            repeats,
            stamp,
            _in_order,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=False,
    )
    _adopt_standard_logging(level)
    return structlog.get_logger()


def _adopt_standard_logging(level: str) -> None:
    """Send what libraries log with the standard module the same way; only warnings and worse."""

    class Adopt(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # Those levels that have a name.
            level = max(logging.DEBUG, min(record.levelno // 10 * 10, logging.CRITICAL))
            facts: dict[str, Any] = {"logger": record.name, CAUSE: (record.name, str(record.msg))}
            if record.exc_info is not None:
                facts["error"] = "".join(traceback.format_exception(*record.exc_info))
            structlog.get_logger().log(level, _words(record), **facts)

    root = logging.getLogger()
    root.handlers = [Adopt()]
    root.setLevel(logging.WARNING if level != "error" else logging.ERROR)


def _words(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (
        Exception
    ):  # arguments that do not fit: the library's mistake must not become that of who called it
        return str(record.msg)
