"""A message as it is published, and the broker's answer to it: bytes in and out, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from flowrunner_nodes._mqtt_packets import PUBLISH, PacketError, read_varint

LONGEST = 65_535
"""Bytes of any text in a packet."""
_NONCHARACTERS = "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
_UNFIT = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NONCHARACTERS}]")
"""What MQTT does not want in a text; Mosquitto ends the connection for it."""
_LONGEST_WORDS = 300
TOO_LARGE, NO_RETAIN = 0x95, 0x9A
"""Reason codes of MQTT 5 that we give in the broker's place, for it would end the connection with them."""
_EXPIRY, _CONTENT_TYPE, _REASON, _USER = 0x02, 0x03, 0x1F, 0x26


class BrokerLimits(msgspec.Struct, frozen=True):
    """What a broker takes, as it said when it accepted the connection; MQTT 3.1.1 has no way to say so."""

    in_flight: int = 65_535
    """Messages of QoS 1 that it has not acknowledged yet."""
    packet: int = 2**28 - 1
    """Bytes of one packet."""
    retain: bool = True
    qos: int = 2


class Publication(msgspec.Struct, frozen=True):
    """A message to publish; ``properties`` are encoded, and sent with MQTT 5 only."""

    topic: bytes
    payload: bytes
    qos: int = 1
    retain: bool = False
    properties: bytes = b""

    def packet(self, mid: int, *, five: bool) -> bytes:
        """Return the PUBLISH packet."""
        head = _sized(self.topic)
        if self.qos:
            head += mid.to_bytes(2, "big")
        if five:
            head += _varint(len(self.properties)) + self.properties
        first = PUBLISH | self.qos << 1 | self.retain
        return bytes([first]) + _varint(len(head) + len(self.payload)) + head + self.payload


class Answer(NamedTuple):
    """What the broker says to a message of QoS 1."""

    code: int
    words: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the broker has the message."""
        return self.code < 0x80

    @property
    def transient(self) -> bool:
        """Whether it may take the same message later: packet identifier in use, quota exceeded."""
        return self.code in {0x91, 0x97}

    @property
    def reason(self) -> str:
        """Return why it has refused the message."""
        name = _REFUSALS.get(self.code, "it gives no known reason")
        return f"the broker refuses the message: {name} (code {self.code})" + (
            f": {self.words}" if self.words else ""
        )


_REFUSALS = {
    0x80: "it gives no reason",
    0x83: "it cannot take it",
    0x87: "not authorized",
    0x90: "the topic is not valid",
    0x91: "the packet identifier is in use",
    0x95: "it is too large",
    0x97: "its quota is exceeded",
    0x99: "the payload has not the format that it says",
    0x9A: "it retains no messages",
}


def text_fault(text: str) -> str | None:
    """Return why a text cannot stand in a packet, ``None`` when it can."""
    unfit = _UNFIT.search(text)
    if unfit is not None:
        return f"it holds the character U+{ord(unfit[0]):04X}, which MQTT does not allow in texts"
    if len(text.encode()) > LONGEST:
        return f"it is longer than {LONGEST} bytes"
    return None


def topic_fault(text: str) -> str | None:
    """Return why nothing can be published to a topic, ``None`` when it can."""
    if not text:
        return "it is empty"
    wildcard = next((each for each in text if each in "+#"), None)
    if wildcard is not None:
        return f"`{wildcard}` is for subscriptions only"
    return text_fault(text)


def encode_properties(expiry: int | None, content_type: str | None, user: Mapping[str, str]) -> bytes:
    """Return the properties of a message; ``expiry`` in seconds."""
    out = b"" if expiry is None else bytes([_EXPIRY]) + expiry.to_bytes(4, "big")
    if content_type is not None:
        out += bytes([_CONTENT_TYPE]) + _sized(content_type.encode())
    for name, value in user.items():
        out += bytes([_USER]) + _sized(name.encode()) + _sized(value.encode())
    return out


def read_puback(body: bytes) -> tuple[int, Answer]:
    """Return the packet identifier and the answer of a PUBACK packet. Raises :class:`PacketError`."""
    if len(body) < 2:
        raise PacketError("the broker sent an acknowledgement that ends too early")
    mid = body[0] << 8 | body[1]
    code = body[2] if len(body) > 2 else 0
    return mid, Answer(code, _words(body) if code >= 0x80 else "")


def _words(body: bytes) -> str:
    """Return the reason string, wherever it stands among user properties; empty without one."""
    length, position = read_varint(body, 3, len(body))
    end = min(position + length, len(body))
    while position > 0 and position + 3 <= end:
        kind = body[position]
        first, position = _text(body, position + 1, end)
        if kind == _REASON:
            return first[:_LONGEST_WORDS]
        if kind != _USER:
            break
        _, position = _text(body, position, end)
    return ""


def _text(body: bytes, position: int, end: int) -> tuple[str, int]:
    start = position + 2
    stop = start + int.from_bytes(body[position:start], "big")
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f]+", " ", body[start : min(stop, end)].decode("utf-8", "replace")
    ), stop


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
