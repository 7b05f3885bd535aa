"""Logging: structlog events as JSON or for a terminal, written by a thread so that a blocked stdout blocks nobody.

One cause is logged at most once a second: repeats are counted and the count goes out with the next one.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import queue
import sys
import threading
from collections.abc import Callable, MutableMapping
from typing import Any, Literal, TextIO

import structlog

from flowrunner.clock import Clock

QUEUE = 10_000
"""Lines that may wait for a slow stdout; more are dropped and counted."""


class Writer:
    """Writes lines to a stream from a thread of its own."""

    def __init__(self, stream: TextIO, notice: Callable[[int], str]) -> None:
        """``notice`` makes the line that tells how many were dropped."""
        self.dropped = 0
        self._notice = notice
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(QUEUE)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def msg(self, line: str) -> None:
        """Queue one line; never waits."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    debug = info = warning = error = critical = exception = log = msg

    def close(self) -> None:
        """Write what is queued, for at most a second."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
        self._thread.join(1.0)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            dropped, self.dropped = self.dropped, 0
            try:
                self._stream.write(f"{line}\n{self._notice(dropped)}\n" if dropped else f"{line}\n")
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                self.dropped += dropped + 1


class Repeats:
    """A structlog processor that lets one cause through once a second and counts the rest.

    A cause is the event's text with the flow and the node it is about.
    """

    def __init__(self, clock: Clock, every: float = 1.0, causes: int = 1024) -> None:
        self._clock = clock
        self._every = every
        self._causes = causes
        self._seen: dict[tuple[Any, ...], tuple[float, int]] = {}

    def __call__(self, _: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Pass the event on, with ``repeated`` when some were held back, or drop it."""
        cause = (method, event.get("event"), event.get("flow"), event.get("node"), event.get("connection"))
        now = self._clock.monotonic()
        last, held = self._seen.get(cause, (float("-inf"), 0))
        if now - last < self._every:
            self._seen[cause] = (last, held + 1)
            raise structlog.DropEvent
        if len(self._seen) >= self._causes:
            self._seen.clear()
        self._seen[cause] = (now, 0)
        if held:
            event["repeated"] = held
        return event


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

    def notice(dropped: int) -> str:
        event = {"level": "warning", "event": "log lines dropped", "lines": dropped}
        return str(render(None, "warning", _in_order(None, "warning", stamp(None, "warning", event))))

    writer = Writer(stream, notice)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            Repeats(clock),
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
            level = max(
                logging.DEBUG, min(record.levelno // 10 * 10, logging.CRITICAL)
            )  # those that have a name
            structlog.get_logger().log(level, record.getMessage(), logger=record.name)

    root = logging.getLogger()
    root.handlers = [Adopt()]
    root.setLevel(logging.WARNING if level != "error" else logging.ERROR)
