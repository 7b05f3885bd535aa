"""What keyed transforms share: the option `key`, the key of a message, and messages that wait in a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from pydantic import Field

from flowrunner import Expression, Message, MessageError, NodeOptions
from flowrunner_nodes._keys import Key, UnfitError, to_key


class KeyedOptions(NodeOptions):
    """The options of a node that keeps something for each key."""

    key: Annotated[
        Expression | None,
        Field(description="What to keep apart, in CEL: a string, number, bool or null.", examples=["topic"]),
    ] = None


def keyed_by(expression: Expression | None) -> Callable[[Message], Key]:
    """Return the function that gives a message's key; one key for all when there is no expression.

    It raises :class:`MessageError` for a message whose key cannot be read.
    """
    if expression is None:
        return _no_key

    def key_of(message: Message) -> Key:
        value = expression.evaluate(message)
        try:
            return to_key(value)
        except UnfitError as error:
            raise MessageError(f"`key`: {error}") from None

    return key_of


def _no_key(message: Message) -> Key:
    del message
    return ""


def packed(message: Message) -> list[Any]:
    """Return a message as the values of a checkpoint."""
    fields = msgspec.structs.astuple(message)
    return [dict(field) if field is message.meta else field for field in fields]


def unpacked(fields: list[Any]) -> Message:
    """Return the message of which ``packed`` made ``fields``."""
    return Message(*fields)


def read_key(saved: Any) -> Key:
    """Return a key as it was before msgpack made a list of it."""
    return tuple(saved) if isinstance(saved, list) else saved
