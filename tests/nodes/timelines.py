"""Messages at given seconds, and what a transform with timers makes of them, however they are cut into batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from flowrunner import NANOSECONDS, Context, Message, Transform
from tests.nodes.harness import START, RecordingLog, SetClock, options

END = 1_000_000
"""A second after everything."""


def at(second: float, payload: Any = None, *, topic: str = "t") -> Message:
    """Return a message that arrives at a second and happened long before."""
    return Message(topic, payload, 5, {"qos": 1}, START + int(second * NANOSECONDS), 1)


def seconds(messages: Sequence[Message]) -> list[tuple[float, Any]]:
    """Return when messages passed, and their payloads."""
    return [((message.clock - START) / NANOSECONDS, message.payload) for message in messages]


class Line:
    """A transform, its books and what has come of it so far."""

    def __init__(self, cls: type[Transform[Any]], **given: Any) -> None:
        self.cls = cls
        self.given = given
        self.out: list[Message] = []
        self.reasons: list[str] = []
        self.node = self._new()

    def _new(self) -> Transform[Any]:
        context = Context("flow", "node", log=RecordingLog(), clock=SetClock())
        return self.cls(options(self.cls, **self.given), context)

    def feed(self, *batch: Message) -> Line:
        """Give the node a batch; the books must balance after it."""
        self.node.context.counters.received += len(batch)
        self._settle(self.node.on_batch(batch))
        return self

    def advance(self, second: float = END) -> Line:
        """Let the flow clock reach a second."""
        out: list[Message] = []
        self.node.advance(START + int(second * NANOSECONDS), out)
        self._settle(out)
        return self

    def restart(self) -> Line:
        """Put the state through msgpack into a new node, as a restart does."""
        state = self.node.snapshot()
        pieces = [state] if isinstance(state, list | dict) or state is None else list(state)
        old, self.node = self.node, self._new()
        for piece in pieces:
            self.node.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(piece)))
        self.node.context.timers, self.node.context.counters = old.context.timers, old.context.counters
        return self

    def _settle(self, out: list[Message]) -> None:
        context = self.node.context
        self.out += out
        self.reasons += [reason for _, reason in context.failures]
        context.counters.emitted["out"] = context.counters.emitted.get("out", 0) + len(out)
        context.counters.dead_lettered += len(context.failures)
        context.failures.clear()
        assert 0 == context.counters.balance()

    @property
    def books(self) -> tuple[int, int]:
        """Held and filtered."""
        return self.node.context.counters.held, self.node.context.counters.filtered
