"""How late the event loop is: measured from within, and while it stands still watched by a thread that tells where."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections import deque
from math import ceil

from flowrunner.context import Logger

LOOK = 0.25
"""Seconds between two looks at how late the event loop is."""
STUCK = 0.25
"""Seconds by which it must be late for its stack to be logged."""
WINDOW = 600.0
"""Seconds over which the 99th percentile is taken."""
_PAUSE = 10.0
"""Seconds between two stacks in the log at the least."""
_DEPTH = 12


class Watchdog:
    """Measures the lag of the event loop, and logs its stack while it is stuck."""

    def __init__(self) -> None:
        self.lag = 0.0
        """Seconds by which the event loop was late when it was last looked at."""
        self.stuck = 0
        """How often the loop was found stuck."""
        self._lags: deque[float] = deque(maxlen=round(WINDOW / LOOK))
        self._turned = threading.Event()
        self._ended = threading.Event()

    @property
    def p99(self) -> float:
        """Seconds by which the loop was late at most in 99 of 100 looks of the last ten minutes."""
        lags = sorted(self._lags)
        return lags[ceil(0.99 * len(lags)) - 1] if lags else 0.0

    async def run(self, log: Logger) -> None:
        """Watch the loop that this runs in until cancelled; ``log`` is told where it is stuck."""
        loop = asyncio.get_running_loop()
        self._ended.clear()
        watcher = threading.Thread(
            target=self._watch, args=(threading.get_ident(), log), name="watchdog", daemon=True
        )
        watcher.start()
        try:
            while True:
                expected = loop.time() + LOOK
                await asyncio.sleep(LOOK)
                self.lag = max(0.0, loop.time() - expected)
                self._lags.append(self.lag)
                self._turned.set()
        finally:
            self._ended.set()
            self._turned.set()
            watcher.join()

    def _watch(self, loop_thread: int, log: Logger) -> None:
        """Look at the loop's thread whenever it has not turned for too long."""
        while not self._ended.is_set():
            self._turned.clear()
            if self._turned.wait(LOOK + STUCK) or self._ended.is_set():
                continue
            self.stuck += 1
            log.warning("event loop is stuck", late_ms=round(STUCK * 1000), stack=_stack(loop_thread))
            self._turned.wait()  # one stack for each time that it is stuck
            self._ended.wait(_PAUSE)


def _stack(thread: int) -> str:
    """Return where a thread is, the innermost call last: files, lines and functions, never values."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001  # the documented way to look at another thread
    calls = traceback.extract_stack(frame)[-_DEPTH:] if frame is not None else []
    return " > ".join(f"{call.filename}:{call.lineno} {call.name}" for call in calls)
