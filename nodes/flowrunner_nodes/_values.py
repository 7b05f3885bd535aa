"""Options that are values: a literal, or CEL after an equals sign."""

from __future__ import annotations

from flowrunner import Json, Message, MessageError, Value


def is_expression(value: Value) -> bool:
    """Whether a value is CEL as a whole, rather than a literal."""
    return isinstance(value.source, str) and value.source.startswith("=")


def evaluate(option: str, value: Value, message: Message) -> Json:
    """Return the value of an option for a message; raises :class:`MessageError` that names the option."""
    try:
        return value.evaluate(message)
    except MessageError as error:
        raise MessageError(f"`{option}`: {error}") from None
