"""Hold each message for a time, then let it pass.

Time is the flow clock: `by: 10s` lets a message pass ten seconds after it arrived, whatever its sensor says of the
time. Messages keep their order, and everything else: topic, payload, `time` and `meta`.

Messages that wait are counted as held and are part of the checkpoint, so that a restart loses none and lets none wait
anew. At most `capacity` of them wait; one more goes to `errors`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import Field

from flowrunner import (
    Context,
    Message,
    MessageError,
    NodeOptions,
    PositiveDuration,
    Transform,
    node_type,
)
from flowrunner_nodes._keyed import packed, unpacked

EXAMPLE = """\
version: 1
flow: later
nodes:
  readings:
    type: file_in
    path: readings.jsonl
  later:
    type: delay
    from: readings
    by: 10s
  show:
    type: debug
    from: later
"""

_PIECE = 500
"""Messages in a piece of the checkpoint."""
_NEXT = "next"


class Config(NodeOptions):
    """How long to hold, and how many at most."""

    by: Annotated[PositiveDuration, Field(description="How long a message is held.", examples=["10s"])]
    capacity: Annotated[
        int, Field(ge=1, le=10_000_000, description="Messages that may wait.", examples=[100_000])
    ] = 100_000


@node_type("delay", ports={"out": "The messages, later."})
class Delay(Transform[Config]):
    """Keep the messages in a queue whose head has a timer."""

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self._waiting: deque[Message] = deque()

    def on_message(self, message: Message) -> None:
        """Put a message into the queue."""
        if len(self._waiting) >= self.config.capacity:
            raise MessageError(f"{self.config.capacity} messages wait already, as `capacity` allows")
        if not self._waiting:
            self.context.timers.set(_NEXT, message.clock + self.config.by, now=message.clock)
        self._waiting.append(message)
        self.context.counters.held += 1

    def on_timer(self, key: Any, due: int) -> Iterable[Message]:
        """Let go of the messages that arrived together, and wait for the next."""
        del key
        waiting, arrived = self._waiting, due - self.config.by
        passed = []
        while waiting and waiting[0].clock <= arrived:
            held = waiting.popleft()
            passed.append(Message(held.topic, held.payload, held.time, held.meta, due))
        self.context.counters.held -= len(passed)
        if waiting:
            self.context.timers.set(_NEXT, waiting[0].clock + self.config.by, now=due)
        return passed

    @classmethod
    def state_options(cls, config: Config) -> Any:
        """Return nothing: the next message waits as long as it would have, the others as the options say now."""
        del config
        return None

    def snapshot(self) -> Iterator[Any]:
        """Yield the messages that wait."""
        messages = list(self._waiting)
        for start in range(0, len(messages), _PIECE):
            yield [packed(message) for message in messages[start : start + _PIECE]]

    def restore(self, state: Any) -> None:
        """Take up messages that wait."""
        self._waiting += [unpacked(fields) for fields in state]
