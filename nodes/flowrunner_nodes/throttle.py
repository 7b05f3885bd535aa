"""Let at most one message per key pass in every stretch of time.

Time is the flow clock: when messages arrive, not what their sensors say. `every: 10s` and messages `a` to `e` of one
key, at the seconds above:

| | 0 `a` | 4 `b` | 7 `c` | 10 | 12 `d` | 20 | 22 | 25 `e` | 30 | 35 |
|---|---|---|---|---|---|---|---|---|---|---|
| `emit: first` | `a` | | | | `d` | | | `e` | | |
| `emit: last` | | | | `c` | | | `d` | | | `e` |
| `emit: both` | `a` | | | `c` | | `d` | | | `e` | |

- `first`: a message passes at once and closes its key for `every`; what comes meanwhile is left out.
- `last`: a message opens an interval of its key, at whose end the last one passes; the next message opens the next.
  So every last value passes, at most `every` late.
- `both`: a message passes at once; the last of those that come within `every` passes at its end and begins the next
  interval. So a change is seen at once, and the last value is never lost.

A message that waits keeps its topic, payload, `time` and `meta`. Messages left out are counted as filtered, those that
wait as held. Without a `key` all messages share one interval. A key costs memory for two intervals at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import batched
from typing import Annotated, Any, Literal

from pydantic import Field

from flowrunner import (
    EVALUATION_ERRORS,
    Context,
    Message,
    PositiveDuration,
    Transform,
    node_type,
)
from flowrunner_nodes._fading import PIECE, FadingDict
from flowrunner_nodes._keyed import KeyedOptions
from flowrunner_nodes._keys import Key, UnfitError, to_key

EXAMPLE = """\
version: 1
flow: calm
nodes:
  readings:
    type: file_in
    path: readings.jsonl
  calm:
    type: throttle
    from: readings
    key: topic
    every: 10s
    emit: last
  show:
    type: debug
    from: calm
"""


class Config(KeyedOptions):
    """How much is too much."""

    every: Annotated[
        PositiveDuration,
        Field(description="The time in which one message of a key passes.", examples=["10s"]),
    ]
    emit: Annotated[
        Literal["first", "last", "both"],
        Field(
            description="Which message passes: the first at once, the last at the end, or both.",
            examples=["last"],
        ),
    ] = "first"


_ERRORS: tuple[type[Exception], ...] = (UnfitError, *EVALUATION_ERRORS)


@node_type("throttle", ports={"out": "The messages that pass."})
class Throttle(Transform[Config]):
    """Close a key when a message passes, and hold the last one for when it opens."""

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self._closed: FadingDict[Key, int] = FadingDict(config.every)
        """By key: the flow clock at which it opens again."""
        self._waiting: dict[Key, Message] = {}
        self._key_of = config.key.function if config.key else _no_key

    def on_batch(self, batch: Sequence[Message]) -> list[Message]:
        """Return what passes at once and what was set free in between."""
        out: list[Message] = []
        timers, closed, filtered = self.context.timers, self._closed, 0
        every, key_of = self.config.every, self._key_of
        last, both = self.config.emit == "last", self.config.emit == "both"
        young, old, ends, due = closed.young, closed.old, closed.ends, timers.due
        for message in batch:
            clock = message.clock
            if clock >= due:
                self.advance(clock, out)
                young, old, ends, due = closed.young, closed.old, closed.ends, timers.due
            try:
                key = key_of(message)
                if type(key) is not str:
                    key = to_key(key)
            except _ERRORS as error:
                self.context.fail(message, self._reason(error))
                continue
            if last:
                self._hold(key, message, clock + every)
                due = timers.due
            elif clock >= (opens := young.get(key) or old.get(key, 0)):
                if clock >= ends:
                    closed.turn(clock)
                    young, old, ends = closed.young, closed.old, closed.ends
                young[key] = clock + every
                out.append(message)
            elif both:
                self._hold(key, message, opens)
                due = timers.due
            else:
                filtered += 1
        self.context.counters.filtered += filtered
        return out

    def _reason(self, error: Exception) -> str:
        if isinstance(error, UnfitError) or self.config.key is None:
            return f"`key`: {error}"
        return self.config.key.reason(error)

    def on_timer(self, key: Any, due: int) -> Iterable[Message]:
        """Let go of the message that waits for the end of its interval."""
        waiting = self._waiting.pop(key)
        self.context.counters.held -= 1
        if self.config.emit == "both":
            self._closed.set(key, due + self.config.every, now=due)
        return [Message(waiting.topic, waiting.payload, waiting.time, waiting.meta, due)]

    def _hold(self, key: Key, message: Message, until: int) -> None:
        if key in self._waiting:
            self.context.counters.filtered += 1
        else:
            self.context.counters.held += 1
            self.context.timers.set(key, until, now=message.clock)
        self._waiting[key] = message

    @classmethod
    def state_options(cls, config: Config) -> Any:
        """Return what is kept apart; intervals that have begun end as they would have."""
        return config.key

    def snapshot(self) -> Iterator[Any]:
        """Return which keys are closed and which messages wait, in pieces."""
        for closed in self._closed.snapshot():
            yield {"closed": closed}
        for waiting in batched(self._waiting.items(), PIECE):
            yield {
                "waiting": [[key, m.topic, m.payload, m.time, m.meta, m.clock, m.seq] for key, m in waiting]
            }

    def restore(self, state: Any) -> None:
        """Take up a piece: closed keys and waiting messages."""
        if "closed" in state:
            self._closed.restore(state["closed"])
        for key, *fields in state.get("waiting", ()):
            self._waiting[tuple(key) if isinstance(key, list) else key] = Message(*fields)


def _no_key(message: Message) -> str:
    del message
    return ""
