"""MQTT packets, as far as a receiver of messages needs them: bytes in, whole packets out. No I/O.

A packet that is longer than allowed is passed over while it streams in and never held: cutting the connection
instead would make the broker send the same packet again, for ever.
"""

from __future__ import annotations

from typing import Any

import msgspec

type Publish = tuple[int, int, bytes, bytes, bytes]
"""A PUBLISH packet: flags (retain 1, QoS 2 and 4), packet identifier, topic, raw properties, payload."""

CONNACK, PUBLISH, PUBACK, PUBREL, SUBACK = 0x20, 0x30, 0x40, 0x60, 0x90
RETAIN = 1
_LONGEST_HEAD = 65535 + 4
"""Bytes of the topic of a PUBLISH packet with its length and the packet identifier."""
_MOST_USER_PROPERTIES = 16


class PacketError(Exception):
    """The bytes are not MQTT, or not what a client can go on after."""


class Batch(msgspec.Struct):
    """What one piece of the byte stream held."""

    publishes: list[Publish] = []
    controls: list[tuple[int, bytes]] = []
    """All other packets: first byte, body."""
    passed_over: list[Publish] = []
    """PUBLISH packets that were too long; their payload is empty."""


class PacketReader:
    """Cuts a stream of bytes into packets."""

    def __init__(self, *, version5: bool, max_packet: int) -> None:
        self._version5 = version5
        self._max_packet = max_packet
        self._parts: list[bytes] = []
        self._held = 0
        self._needed = 0
        self._to_skip = 0

    @property
    def held(self) -> int:
        """Bytes of a packet that is not yet complete."""
        return self._held

    def feed(self, data: bytes) -> Batch:
        """Return the packets that are complete with ``data``. Raises :class:`PacketError`."""
        batch = Batch()
        if self._to_skip:
            skipped = min(self._to_skip, len(data))
            self._to_skip -= skipped
            data = data[skipped:]
        if self._parts:
            # Joined only when there is enough: a long packet in small pieces would be copied once a piece.
            self._parts.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return batch
            data = b"".join(self._parts)
        try:
            rest = self._cut(data, batch)
        except IndexError:
            raise PacketError("the broker sent a packet that ends too early") from None
        self._parts = [data[rest:]] if rest < len(data) else []
        self._held = max(len(data) - rest, 0)
        return batch

    def _cut(self, data: bytes, batch: Batch) -> int:
        """Cut all complete packets from ``data`` and return where the first incomplete one begins."""
        version5, longest = self._version5, self._max_packet
        add = batch.publishes.append
        position, end = 0, len(data)
        while end - position >= 2:
            first, length, start = data[position], data[position + 1], position + 2
            if length & 0x80:
                length, start = read_varint(data, position + 1, end)
                if not start:
                    break
            stop = start + length
            if stop - position > longest:
                if not self._pass_over(data, position, start, stop, batch):
                    break
                position = stop
                continue
            if stop > end:
                self._needed = stop - position
                return position
            if first & 0xF0 == PUBLISH:
                add(_publish(data, first, start, stop, version5))
            else:
                batch.controls.append((first, data[start:stop]))
            position = stop
        self._needed = 0
        return position

    def _pass_over(self, data: bytes, position: int, start: int, stop: int, batch: Batch) -> bool:
        """Leave out a packet that is too long; return whether its head had arrived."""
        first, end = data[position], len(data)
        if first & 0xF0 != PUBLISH:
            raise PacketError(f"the broker sent a packet of {stop - position} bytes that is no message")
        if end - start < min(_LONGEST_HEAD, stop - start):
            return False
        flags, mid, topic, _, _ = _publish(data, first, start, stop, version5=False)
        batch.passed_over.append((flags, mid, topic, b"", b""))
        self._to_skip = max(stop - end, 0)
        return True


def _publish(data: bytes, first: int, start: int, stop: int, version5: bool) -> Publish:
    flags = first & 7
    body = start + 2 + (data[start] << 8 | data[start + 1])
    topic = data[start + 2 : body]
    mid = 0
    if flags & 6:
        mid = data[body] << 8 | data[body + 1]
        body += 2
    properties = b""
    if version5:
        length, begin = data[body], body + 1
        if length & 0x80:
            length, begin = read_varint(data, body, stop)
            if not begin:
                raise PacketError("the broker sent a message whose properties end too early")
        body = begin + length
        properties = data[begin:body]
    if body > stop or flags & 6 == 6:
        raise PacketError("the broker sent a malformed message")
    return flags, mid, topic, properties, data[body:stop]


def read_varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Return a variable byte integer and where it ends; that is 0 when it is not complete."""
    value = 0
    for shift in (0, 7, 14, 21):
        if position >= end:
            return 0, 0
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise PacketError("the broker sent a length of more than four bytes")


def read_properties(raw: bytes) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Return the subscription identifiers and the facts for ``meta`` of the properties of a message.

    Raises :class:`PacketError` for properties that a PUBLISH packet cannot have.
    """
    identifiers: list[int] = []
    meta: dict[str, Any] = {}
    users = 0
    position, end = 0, len(raw)
    while position < end:
        kind = raw[position]
        position += 1
        if kind == 0x0B:
            value, position = read_varint(raw, position, end)
            identifiers.append(value)
        elif kind in _FIXED:
            position += _FIXED[kind]
        elif kind in _TEXTS:
            text, position = _text(raw, position)
            if _TEXTS[kind]:
                meta[_TEXTS[kind]] = text
        elif kind == 0x26:
            name, position = _text(raw, position)
            text, position = _text(raw, position)
            users += 1
            if users <= _MOST_USER_PROPERTIES:
                meta["user_" + name] = text
        else:
            raise PacketError(f"property {kind} does not belong to a message")
        if position > end or position == 0:
            raise PacketError("the properties of a message end too early")
    return tuple(identifiers), meta


_FIXED = {0x01: 1, 0x02: 4, 0x23: 2}
"""Property → bytes: payload format, message expiry, topic alias."""
_TEXTS = {0x03: "content_type", 0x08: "response_topic", 0x09: ""}
"""Property → name in ``meta``: content type, response topic, correlation data (bytes, left out)."""


def _text(raw: bytes, position: int) -> tuple[str, int]:
    if position + 2 > len(raw):
        raise PacketError("the properties of a message end too early")
    stop = position + 2 + (raw[position] << 8 | raw[position + 1])
    return raw[position + 2 : stop].decode("utf-8", "replace"), stop
