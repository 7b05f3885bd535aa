"""What `mqtt_out` publishes for a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowrunner import NANOSECONDS, Message, MessageError, TraceContext, Value
from flowrunner_nodes._mqtt_publication import Publication, encode_properties, text_fault, topic_fault
from flowrunner_nodes._paths import kind_of
from flowrunner_nodes._values import evaluate, is_expression

if TYPE_CHECKING:
    from flowrunner_nodes.mqtt_out import Config


class Composer:
    """Makes publications of messages, by the options of a node."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._expiry = None if config.expiry is None else -(-config.expiry // NANOSECONDS)
        self._properties: bytes | None = None
        if not any(is_expression(value) for value in config.user_properties.values()):
            self._properties = self._encode(Message("", None, 0))

    @property
    def needs_version5(self) -> bool:
        """Whether there is anything that MQTT 3.1.1 does not have."""
        return self._properties != b""

    def publication(self, message: Message) -> Publication:
        """Return what is published; raises :class:`MessageError`."""
        config = self._config
        properties = self._encode(message) if self._properties is None else self._properties
        payload = message.payload if config.payload is None else evaluate("payload", config.payload, message)
        return Publication(
            self._topic(message), _data(payload), config.qos, self._retain(message), properties
        )

    def _topic(self, message: Message) -> bytes:
        topic = evaluate("topic", self._config.topic, message)
        if not isinstance(topic, str):
            raise MessageError(f"`topic` must be a text, got {kind_of(topic)}")
        if (fault := topic_fault(topic)) is not None:
            raise MessageError(f"nothing can be published to {topic!r:.100}: {fault}")
        return topic.encode()

    def _retain(self, message: Message) -> bool:
        retain = evaluate("retain", self._config.retain, message)
        if not isinstance(retain, bool):
            raise MessageError(f"`retain` must be true or false, got {kind_of(retain)}")
        return retain

    def traced(self, publication: Publication, trace: TraceContext) -> Publication:
        """Return a publication that tells of the trace it belongs to, unless it has such properties already."""
        headers = {
            name: value for name, value in trace.headers().items() if name not in self._config.user_properties
        }
        return msgspec.structs.replace(
            publication, properties=publication.properties + encode_properties(None, None, headers)
        )

    def _encode(self, message: Message) -> bytes:
        given = self._config.user_properties.items()
        user = {name: _user_property(name, value, message) for name, value in given}
        return encode_properties(self._expiry, self._config.content_type, user)


def _user_property(name: str, value: Value, message: Message) -> str:
    option = f"user_properties.{name}"
    found = evaluate(option, value, message)
    if not isinstance(found, str | int | float):
        raise MessageError(f"`{option}` must be a text or a number, got {kind_of(found)}")
    text = found if isinstance(found, str) else msgspec.json.encode(found).decode()
    if (fault := text_fault(text)) is not None:
        raise MessageError(f"`{option}` cannot be sent: {fault}")
    return text


def _data(payload: Any) -> bytes:
    if isinstance(payload, bytes):
        return payload
    try:
        return payload.encode() if isinstance(payload, str) else msgspec.json.encode(payload)
    except UnicodeEncodeError:
        raise MessageError("the payload has a text that is not valid Unicode") from None
