"""What the engine does around one node, as little of it as the tests of node types need."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from flowrunner import (
    NANOSECONDS,
    Context,
    Message,
    MessageError,
    NodeOptions,
    Record,
    Sink,
    Source,
    SourceContext,
    Transform,
)
from flowrunner.node import Node
from flowrunner.runtime.checkpoints.state import dump_state, load_state

START = 1_772_359_200 * NANOSECONDS
"""2026-03-01T10:00:00Z."""


class RecordingLog:
    """A logger that keeps ``(level, event, facts)``."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def debug(self, event: str, **facts: Any) -> None:
        self.lines.append(("debug", event, facts))

    def info(self, event: str, **facts: Any) -> None:
        self.lines.append(("info", event, facts))

    def warning(self, event: str, **facts: Any) -> None:
        self.lines.append(("warning", event, facts))

    def error(self, event: str, **facts: Any) -> None:
        self.lines.append(("error", event, facts))


class SetClock:
    """A clock that stands where the test puts it; its monotonic time is that of the event loop."""

    def __init__(self, now: int = START) -> None:
        self.time = now

    def now(self) -> int:
        return self.time

    def monotonic(self) -> float:
        return self.time / NANOSECONDS


class JournalInMemory(SourceContext):
    """The context of a source: keeps what the journal would."""

    def __init__(self, cursor: Any = None, *, node: str = "node", clock: SetClock | None = None) -> None:
        super().__init__("flow", node, log=RecordingLog(), clock=clock or SetClock())
        self.cursor = cursor
        self.records: list[Record] = []
        self.changed = asyncio.Event()

    async def emit_records(self, records: Sequence[Record], cursor: Any = None) -> None:
        self.counters.received += len(records)
        self.records += records
        self.cursor = cursor
        self.changed.set()
        await asyncio.sleep(0)

    async def wait_for(self, count: int) -> list[Record]:
        """Return the records once there are ``count`` of them; fail after a few seconds."""
        async with asyncio.timeout(5):
            while len(self.records) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.records


def options[N: NodeOptions](cls: type[Node[N]], **given: Any) -> Any:
    """Validate the options of a node as a flow file would give them."""
    return cls.Config.model_validate({"type": "test", **given})


@dataclass
class Outcome:
    """What came of some messages: by port, and what failed with which reason."""

    context: Context
    ports: dict[str, list[Message]] = field(default_factory=dict)
    failures: list[tuple[Message, str]] = field(default_factory=list)

    @property
    def out(self) -> list[Message]:
        return self.ports.get("out", [])

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reason in self.failures]

    def payloads(self, port: str = "out") -> list[Any]:
        return [message.payload for message in self.ports.get(port, [])]


def run_transform(
    cls: type[Transform[Any]],
    given: dict[str, Any],
    batches: Iterable[Sequence[Message]],
    *,
    wired: Iterable[str] = ("out",),
) -> Outcome:
    """Run batches through a transform as a stage does; the counters must balance after each of them."""
    context = Context("flow", "node", log=RecordingLog(), clock=SetClock(), wired=frozenset(wired))
    node = cls(options(cls, **given), context)
    outcome, counters = Outcome(context), context.counters
    for batch in batches:
        counters.received += len(batch)
        for port, messages in {"out": node.on_batch(batch), **context.ports}.items():
            outcome.ports.setdefault(port, []).extend(messages)
            counters.emitted[port] = counters.emitted.get(port, 0) + len(messages)
        outcome.failures += context.failures
        counters.errors += len(context.failures)
        counters.dead_lettered += len(context.failures)
        context.ports.clear()
        context.failures.clear()
        assert counters.balance() == 0
    return outcome


async def write_all(node: Sink[Any], messages: Sequence[Message]) -> list[str]:
    """Write a batch and return the reasons of the messages that failed; the counters must balance."""
    counters, failures = node.context.counters, node.context.failures
    counters.received += len(messages)
    await node.write(messages)
    counters.written += len(messages) - len(failures)
    counters.dead_lettered += len(failures)
    reasons = [reason for _, reason in failures]
    failures.clear()
    assert counters.balance() == 0
    return reasons


def make_sink[S: Sink[Any]](cls: type[S], **given: Any) -> S:
    """Build a sink with a context of its own."""
    return cls(options(cls, **given), Context("flow", "node", log=RecordingLog(), clock=SetClock()))


def decoded(source: Source[Any], records: Iterable[Record]) -> list[Any]:
    """Return the payloads of records; the text of the error in angle brackets for those that cannot be read."""
    payloads = []
    for record in records:
        try:
            payloads.append(source.decode(record.data))
        except MessageError as error:
            payloads.append(f"<{error}>")
    return payloads


def take_up[T: Transform[Any]](new: T, old: T) -> T:
    """Give a new node the state and timers of another one by way of a checkpoint; return it."""

    async def by_way_of_a_checkpoint() -> None:
        chunks = await dump_state(old, old.context.timers)
        await load_state(new, new.context.timers, chunks, old.state_version)

    work = by_way_of_a_checkpoint()
    with contextlib.suppress(StopIteration):
        while True:
            work.send(None)  # it waits for nothing but its turn
    return new


def message(payload: Any = None, *, topic: str = "t", time: int = START, **meta: Any) -> Message:
    """Return a message that arrived when it happened."""
    return Message(topic, payload, time, meta, clock=time, seq=1)


def split_at(messages: Sequence[Message], cuts: Iterable[int]) -> list[Sequence[Message]]:
    """Cut a sequence of messages into batches."""
    places = sorted({0, len(messages), *(cut % (len(messages) + 1) for cut in cuts)})
    return [messages[start:end] for start, end in pairwise(places)]
