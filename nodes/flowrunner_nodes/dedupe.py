"""Drop repeats: messages whose value has passed already.

`of` says what makes two messages the same, the whole payload unless it says otherwise. A message passes when no message
of its `key` with the same value has passed `within` the time before it; otherwise it ends here and is counted as
filtered. Time is the flow clock: when messages arrive.

With `of: payload.id` the second delivery of an event is dropped. With `key: topic` and the default `of`, a sensor that
repeats itself is heard once in every `within`. Numbers are the same when they are equal (1 and 1.0), mappings whatever
the order of their names.

Long values are remembered as a digest. A value costs memory for two times `within` at most, and at most `capacity`
values are remembered: when there are more, the oldest are forgotten early, so that a repeat may pass, never the reverse.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from pydantic import Field

from flowrunner import (
    Context,
    Expression,
    Message,
    MessageError,
    PositiveDuration,
    Transform,
    node_type,
)
from flowrunner_nodes._fading import FadingDict
from flowrunner_nodes._keyed import KeyedOptions, keyed_by

EXAMPLE = """\
version: 1
flow: once
nodes:
  events:
    type: file_in
    path: readings.jsonl
  once:
    type: dedupe
    from: events
    of: payload
    within: 10m
  show:
    type: debug
    from: once
"""

_LONG = 64
"""Bytes from which on a digest is remembered in place of the value."""


class Config(KeyedOptions):
    """What is a repeat."""

    of: Annotated[
        Expression,
        Field(description="What makes two messages the same, in CEL.", examples=["payload.id"]),
    ] = "payload"  # type: ignore[assignment]  # read like a user's
    within: Annotated[
        PositiveDuration,
        Field(description="How long after a message its repeats are dropped.", examples=["10m"]),
    ]
    capacity: Annotated[
        int, Field(ge=1, le=10_000_000, description="Values remembered at most.", examples=[100_000])
    ] = 1_000_000


@node_type("dedupe", ports={"out": "The messages that are no repeats."})
class Dedupe(Transform[Config]):
    """Remember when each value has passed last."""

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self._key_of = keyed_by(config.key)
        self._passed: FadingDict[str, int] = FadingDict(config.within, max(1, config.capacity // 2))
        """By key and value: the flow clock at which it passed."""

    def on_message(self, message: Message) -> list[Message]:
        """Return the message unless it is a repeat."""
        seen = _identity(self._key_of(message), self.config.of.evaluate(message))
        passed = self._passed.get(seen)
        if passed is not None and message.clock - passed < self.config.within:
            return []
        self._passed.set(seen, message.clock, now=message.clock)
        return [message]

    @classmethod
    def state_options(cls, config: Config) -> Any:
        """Return what makes messages the same."""
        return config.key, config.of

    def snapshot(self) -> Iterator[Any]:
        """Return what has passed, and when, in pieces."""
        return self._passed.snapshot()

    def restore(self, state: Any) -> None:
        """Take up a piece of what has passed."""
        self._passed.restore(state)


def _identity(key: object, value: Any) -> str:
    """Return a short text that is the same for equal keys and values only."""
    try:
        data = msgspec.json.encode([key, _equal_form(value)], order="sorted")
    except (TypeError, ValueError, RecursionError) as error:
        raise MessageError(f"`of` cannot be compared: {error}") from None
    return data.decode() if len(data) < _LONG else hashlib.blake2b(data, digest_size=16).hexdigest()


def _equal_form(value: Any) -> Any:
    """Return a value in which equal numbers are spelled the same: 1.0 as 1."""
    if type(value) is float and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_equal_form(member) for member in value]
    if isinstance(value, dict):
        return {name: _equal_form(member) for name, member in value.items()}
    return value
