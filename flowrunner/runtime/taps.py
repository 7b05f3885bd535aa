"""A look at the messages that leave or reach a node of a running flow, without a cost while nobody looks.

Whoever looks has a queue with an end: what does not fit is counted, and the flow never waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from flowrunner.context import Context
from flowrunner.message import Message
from flowrunner.runtime.follow import Follower

IN = "in"
"""Where a sink takes messages in, beside the names of output ports."""
CAPACITY = 2048
"""Messages that wait for a listener; the messages themselves are shared, not copied."""


class Listener(Protocol):
    """Whoever looks at a node."""

    def hear(self, port: str, messages: Sequence[Message]) -> None:
        """Take note of messages that pass; must be quick, keep nothing back and raise nothing."""


class Tap:
    """The place at one node where listeners look; goes on over reloads and restarts of the flow."""

    __slots__ = ("follower", "listeners")

    def __init__(self, follower: Follower) -> None:
        self.listeners: tuple[Listener, ...] = ()
        self.follower = follower

    def tell(self, port: str, messages: Sequence[Message]) -> None:
        """Show messages to the listeners. Called only when there are some."""
        for listener in self.listeners:
            listener.hear(port, messages)

    def arrived(self, node: str, messages: Sequence[Message]) -> None:
        """Show messages that a sink has taken in."""
        if self.listeners and messages:
            self.tell(IN, messages)
        if self.follower.followed:
            for message in messages:
                self.follower.ended(node, message, "arrived", final=False)

    def ended(self, context: Context, accepted: Sequence[Message], dropped: int) -> None:
        """Write down what became of followed messages at a sink that has ended a batch; ``dropped`` it left out."""
        if not self.follower.followed:
            return
        reason = f"{dropped} of its batch were left out by the sink" if dropped else None
        for message in accepted:
            self.follower.ended(context.node, message, "written", reason)
        for message, why in context.failures:
            self.follower.ended(context.node, message, "failed", why)

    def add(self, listener: Listener) -> None:
        """Let a listener look from now on."""
        self.listeners = (*self.listeners, listener)

    def remove(self, listener: Listener) -> None:
        """Let a listener look no longer."""
        self.listeners = tuple(other for other in self.listeners if other is not listener)


class Taps:
    """The taps of a flow, by node."""

    def __init__(self) -> None:
        self.follower = Follower()
        self._taps: dict[str, Tap] = {}

    def at(self, node: str) -> Tap:
        """Return the tap of a node, the same one in every version of the flow."""
        return self._taps.setdefault(node, Tap(self.follower))


class Sampler:
    """A listener that keeps every ``every``-th message of a port, or of all, until it is asked for them."""

    def __init__(self, port: str | None, every: int = 1, capacity: int = CAPACITY) -> None:
        self.missed = 0
        """Messages that were chosen and found no room; the reader sets it back."""
        self._port = port
        self._every = every
        self._capacity = capacity
        self._next = 0
        self._kept: deque[tuple[str, Message]] = deque()

    def hear(self, port: str, messages: Sequence[Message]) -> None:
        """Keep what is chosen as far as there is room."""
        if self._port is not None and port != self._port:
            return
        chosen = range(self._next, len(messages), self._every)
        self._next = (self._next - len(messages)) % self._every
        room = self._capacity - len(self._kept)
        self._kept += [(port, messages[place]) for place in chosen[:room]]
        self.missed += max(0, len(chosen) - room)

    def take(self) -> list[tuple[str, Message]]:
        """Return what was kept, with the ports, the oldest first."""
        kept = list(self._kept)
        self._kept.clear()
        return kept
