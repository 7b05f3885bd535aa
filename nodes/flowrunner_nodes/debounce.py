"""Pass the last message of a key when the key has been quiet for a time.

Time is the flow clock: when messages arrive. With `quiet: 5s`, messages of one key at the seconds 0, 3 and 6 give one
message at second 11: the last of the three. Use it for a door contact that chatters, or a slider that is being moved.

A key that is never quiet would never pass. `max_wait` sets an end to that: the last message passes at the latest so
long after the first that waited.

Messages that another one replaces are counted as filtered, those that wait as held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import batched
from typing import Annotated, Any

from pydantic import Field, model_validator

from flowrunner import (
    Context,
    Message,
    PositiveDuration,
    Transform,
    node_type,
    option_error,
)
from flowrunner_nodes._keyed import KeyedOptions, keyed_by, packed, read_key, unpacked
from flowrunner_nodes._keys import Key

EXAMPLE = """\
version: 1
flow: settled
nodes:
  switches:
    type: file_in
    path: readings.jsonl
  settled:
    type: debounce
    from: switches
    key: topic
    quiet: 5s
    max_wait: 1m
  show:
    type: debug
    from: settled
"""

_PIECE = 500
"""Keys in a piece of the checkpoint."""


class Config(KeyedOptions):
    """How long is quiet."""

    quiet: Annotated[
        PositiveDuration,
        Field(description="How long no message of the key may come.", examples=["5s"]),
    ]
    max_wait: Annotated[
        PositiveDuration | None,
        Field(description="How long a key may be kept waiting in all; no end without it.", examples=["1m"]),
    ] = None

    @model_validator(mode="after")
    def _waits_as_long_as_it_is_quiet(self) -> Config:
        if self.max_wait is not None and self.max_wait < self.quiet:
            raise option_error(
                "FR023", "`max_wait` is less than `quiet`", help="make `max_wait` longer, or leave it out"
            )
        return self


@node_type("debounce", ports={"out": "The last message of each key that has become quiet."})
class Debounce(Transform[Config]):
    """Hold the last message of each key, and set its timer anew with every one that comes."""

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self._key_of = keyed_by(config.key)
        self._waiting: dict[Key, tuple[int, Message]] = {}
        """By key: the flow clock at which the wait began, and the last message."""

    def on_message(self, message: Message) -> None:
        """Put a message in the place of the one that waits."""
        key = self._key_of(message)
        waiting = self._waiting.get(key)
        if waiting is None:
            self.context.counters.held += 1
        began = message.clock if waiting is None else waiting[0]
        self._waiting[key] = (began, message)
        due = message.clock + self.config.quiet
        if self.config.max_wait is not None:
            due = min(due, began + self.config.max_wait)
        self.context.timers.set(key, due, now=message.clock)

    def on_timer(self, key: Any, due: int) -> Iterable[Message]:
        """Let go of the message that waits."""
        _, held = self._waiting.pop(key)
        self.context.counters.held -= 1
        return [Message(held.topic, held.payload, held.time, held.meta, due)]

    @classmethod
    def state_options(cls, config: Config) -> Any:
        """Return what is kept apart; waits that have begun end as they would have."""
        return config.key

    def snapshot(self) -> Iterator[Any]:
        """Yield the messages that wait, by key."""
        for part in batched(list(self._waiting.items()), _PIECE):
            yield [[key, began, packed(message)] for key, (began, message) in part]

    def restore(self, state: Any) -> None:
        """Take up messages that wait."""
        self._waiting |= {read_key(key): (began, unpacked(fields)) for key, began, fields in state}
