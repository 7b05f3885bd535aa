"""When to read a socket: on arrival while it is calm, at a short rhythm under load, not at all while buffers are full."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_PERIOD = 0.002
"""Seconds between two reads under load. A wake-up costs as much as ten messages; this is also the latency."""
_WINDOW = 0.02
_BUSY = 64
"""Messages within ``_WINDOW`` seconds (3,200 a second) from which on the rhythm is worth its latency."""
_CALM = 5
"""Reads without a message after which reading on arrival is taken up again."""


class ReadLoop:
    """Calls ``read`` when a socket should be read. ``read`` returns the number of messages it got."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fileno: int, read: Callable[[], int]) -> None:
        self._loop = loop
        self._fileno = fileno
        self._read = read
        self._timer: asyncio.TimerHandle | None = None
        self._listening = False
        self._stopped = False
        self._paused = False
        self._window_end = 0.0
        self._count = 0
        self._empty = 0
        self._listen()

    @property
    def paused(self) -> bool:
        """Whether the socket is not read at present."""
        return self._paused

    def pause(self) -> None:
        """Read no more until ``resume``."""
        self._paused = True
        self._quiet()

    def resume(self) -> None:
        """Read again."""
        if self._paused and not self._stopped:
            self._paused = False
            self._listen()

    def stop(self) -> None:
        """Let go of the socket for good."""
        self._stopped = True
        self._quiet()

    def _listen(self) -> None:
        self._listening = True
        self._loop.add_reader(self._fileno, self._on_arrival)

    def _quiet(self) -> None:
        if self._listening:
            self._listening = False
            self._loop.remove_reader(self._fileno)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_arrival(self) -> None:
        count = self._read()
        now = self._loop.time()
        if now > self._window_end:
            self._window_end = now + _WINDOW
            self._count = 0
        self._count += count
        if self._count >= _BUSY and self._listening:
            self._quiet()
            self._empty = 0
            self._timer = self._loop.call_later(_PERIOD, self._on_beat)

    def _on_beat(self) -> None:
        self._timer = None
        count = self._read()
        self._empty = 0 if count else self._empty + 1
        if self._stopped or self._paused:
            return
        if self._empty >= _CALM:
            self._listen()
        else:
            self._timer = self._loop.call_later(_PERIOD, self._on_beat)
