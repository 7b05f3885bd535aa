"""The thread that writes lines: whoever logs never waits, whatever becomes of the stream."""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import select
import threading
from collections.abc import Callable, Iterable
from typing import TextIO

QUEUE = 10_000
"""Lines that may wait for a slow stdout; more are dropped and counted."""
_LOOK = 1.0
"""Seconds between two looks for lines that nobody has queued."""
_MANY = 256
"""Lines after which to look for them too."""


class Writer:
    """Writes lines to a stream from a thread of its own."""

    def __init__(
        self,
        stream: TextIO,
        notice: Callable[[int], str],
        overdue: Callable[[bool], Iterable[str]] = lambda _: (),
    ) -> None:
        """``notice`` makes the line that tells how many were dropped.

        ``overdue`` makes the lines that it is time for; at the end all that there are.
        """
        self.dropped = 0
        self._notice = notice
        self._overdue = overdue
        self._write = _output(stream)
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
        written = 0
        while True:
            try:
                line = self._lines.get(timeout=_LOOK)
            except queue.Empty:
                self._put(self._overdue(False))
                continue
            if line is None:
                self._put(self._overdue(True))
                return
            self._put([line])
            written += 1
            if written % _MANY == 0:
                self._put(self._overdue(False))

    def _put(self, lines: Iterable[str]) -> None:
        """Write lines, and how many were dropped before; those that the stream refuses count as dropped."""
        for line in lines:
            dropped, self.dropped = self.dropped, 0
            try:
                self._write(f"{line}\n{self._notice(dropped)}\n" if dropped else f"{line}\n")
            except (OSError, ValueError):
                self.dropped += dropped + 1


def _output(stream: TextIO) -> Callable[[str], object]:
    """Return what writes to a stream: past its buffer, whose lock would else stop the interpreter's end."""
    try:
        descriptor = os.dup(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return stream.write

    def write(text: str) -> None:
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        while data:
            try:
                data = data[os.write(descriptor, data) :]
            except BlockingIOError:  # another process has set it so
                select.select([], [descriptor], [])

    return write
