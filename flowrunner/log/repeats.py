"""One line a second for one cause, and none of those that were held back is forgotten."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import MutableMapping
from typing import Any

import structlog

from flowrunner.clock import Clock

CAUSE = "_cause"
"""The fact that stands for an event's words where these are different each time; it is not written."""


class _Told:
    """When a cause was last written, and what was held back since."""

    __slots__ = ("event", "held", "last")

    def __init__(self, last: float) -> None:
        self.last = last
        self.held = 0
        self.event: dict[str, Any] = {}

    def newest(self) -> dict[str, Any]:
        """Return the last event that was held back, with the number of the others."""
        return self.event | {"repeated": self.held - 1} if self.held > 1 else self.event


class Repeats:
    """A structlog processor that lets one cause through once a second and counts the rest.

    A cause is the event's text with the flow and the node it is about.
    """

    def __init__(self, clock: Clock, every: float = 1.0, causes: int = 1024) -> None:
        self._clock = clock
        self._every = every
        self._causes = causes
        self._seen: dict[tuple[Any, ...], _Told] = {}
        self._given_up: deque[dict[str, Any]] = deque(maxlen=causes)
        self._lock = threading.Lock()

    def __call__(self, _: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Pass the event on, with ``repeated`` when some were held back, or drop it."""
        words = event.pop(CAUSE, None) or event.get("event")
        cause = (method, words, event.get("flow"), event.get("node"), event.get("connection"))
        now = self._clock.monotonic()
        with self._lock:
            told = self._seen.get(cause)
            if told is not None and now - told.last < self._every:
                told.held += 1
                told.event = dict(event)
                raise structlog.DropEvent
            self._seen.pop(cause, None)
            if len(self._seen) >= self._causes:
                self._give_up(next(iter(self._seen)))
            self._seen[cause] = _Told(now)
        if told is not None and told.held:
            event["repeated"] = told.held
        return event

    def overdue(self, *, end: bool = False) -> list[dict[str, Any]]:
        """Return for each cause of which something has been held back for long the newest; at the ``end`` for all."""
        now = self._clock.monotonic()
        with self._lock:
            for cause, told in list(self._seen.items()):
                if end or now - told.last >= self._every:
                    self._give_up(cause)
                    if told.held and not end:
                        self._seen[cause] = _Told(now)
            found = list(self._given_up)
            self._given_up.clear()
        return found

    def _give_up(self, cause: tuple[Any, ...]) -> None:
        told = self._seen.pop(cause)
        if told.held:
            self._given_up.append(told.newest())
