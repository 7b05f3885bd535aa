"""The queue between the event loop and a collector: bounded, emptied by a thread, its losses counted."""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from flowrunner.context import Logger

RESULTS = ("exported", "queue_full", "failed")
"""What may become of a span."""
_CREDENTIALS = re.compile(r"//[^/@\s]*@")
_LIBRARIES = ("opentelemetry", "urllib3", "requests")


class Sender[S](Protocol):
    """Brings spans to a collector."""

    def send(self, spans: Sequence[S]) -> bool:
        """Return whether the collector has taken them. May take long: it is called in a thread."""

    def hurry(self) -> None:
        """Make no further attempt; called while ``send`` is under way."""


class ExportQueue[S]:
    """Spans that have ended and are not exported yet."""

    def __init__(self, log: Logger, *, capacity: int = 2048, batch: int = 512, delay: float = 5.0) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(RESULTS, 0))
        """Spans, by what became of them."""
        self._log = log
        self._capacity = capacity
        self._batch = max(1, min(batch, capacity))
        self._delay = delay
        self._spans: deque[S] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._works = True
        self._words = _Words()
        self._sender: Sender[S] | None = None
        self._thread: threading.Thread | None = None

    def start(self, sender: Callable[[], Sender[S]]) -> None:
        """Export from now on, with what ``sender`` makes."""
        for name in _LIBRARIES:  # what they have to say is said once, by us
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [self._words], False
        self._sender = sender()
        self._thread = threading.Thread(target=self._run, args=(self._sender,), name="traces", daemon=True)
        self._thread.start()

    def put(self, span: S) -> None:
        """Take a span, or count that there is no room; never waits."""
        if len(self._spans) >= self._capacity:
            self.counts["queue_full"] += 1
            return
        self._spans.append(span)
        if len(self._spans) >= self._batch:
            self._wake.set()

    def close(self, patience: float) -> None:
        """Export what is left, for at most so many seconds."""
        self._closing = True
        self._wake.set()
        if self._thread is not None and self._sender is not None:
            self._thread.join(patience)
            self._sender.hurry()

    def _run(self, sender: Sender[S]) -> None:
        while not self._closing:
            self._wake.wait(self._delay)
            self._wake.clear()
            while self._spans:
                self._send(sender, [self._spans.popleft() for _ in range(min(len(self._spans), self._batch))])

    def _send(self, sender: Sender[S], spans: list[S]) -> None:
        self._words.last = ""
        try:
            taken = sender.send(spans)
        except Exception as error:
            taken, self._words.last = False, f"{type(error).__name__}: {error}"
        self.counts["exported" if taken else "failed"] += len(spans)
        if taken != self._works:
            self._works = taken
            self._tell()

    def _tell(self) -> None:
        if self._works:
            self._log.info(
                "traces are exported again", lost=self.counts["failed"] + self.counts["queue_full"]
            )
        else:
            reason = _CREDENTIALS.sub("//***@", self._words.last)[:500]
            self._log.warning("traces cannot be exported; the flows go on without", reason=reason)


class _Words(logging.Handler):
    """Remembers the last that the libraries said."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Remember a line."""
        if record.levelno >= logging.WARNING:
            self.last = record.getMessage()

    def handle(self, record: logging.LogRecord) -> Any:
        """Remember a line; there is no lock to wait for."""
        self.emit(record)
        return record
