"""The other end of an MQTT connection, by hand: a publisher that is sure, and a broker that can misbehave."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from typing import Self

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 0x10, 0x20, 0x30, 0x40, 0x80, 0x90
PUBREC, PUBREL, PUBCOMP, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP = 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0
DISCONNECT = 0xE0


def packet(first: int, body: bytes = b"") -> bytes:
    """Return a whole packet."""
    return bytes([first]) + varint(len(body)) + body


def varint(value: int) -> bytes:
    """Return a variable byte integer."""
    out = bytearray()
    while True:
        value, byte = value >> 7, value & 0x7F
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def text(value: str | bytes) -> bytes:
    """Return a string with its length."""
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2, "big") + data


def publish_packet(
    topic: str | bytes,
    payload: bytes,
    *,
    qos: int = 0,
    mid: int = 0,
    retain: bool = False,
    properties: bytes | None = None,
) -> bytes:
    """Return a PUBLISH packet; ``properties`` is ``None`` for MQTT 3.1.1."""
    body = text(topic) + (mid.to_bytes(2, "big") if qos else b"")
    if properties is not None:
        body += varint(len(properties)) + properties
    return packet(PUBLISH | qos << 1 | retain, body + payload)


def connect_packet(client_id: str, username: str | None = None, password: str | None = None) -> bytes:
    """Return a CONNECT packet of MQTT 3.1.1 with a clean session."""
    flags = 2 | (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
    credentials = b"".join(text(part) for part in (username, password) if part is not None)
    return packet(CONNECT, text("MQTT") + bytes([4, flags]) + b"\x00\x3c" + text(client_id) + credentials)


async def read_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return first byte and body of the next packet; raises ``IncompleteReadError`` at the end."""
    first = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return first, await reader.readexactly(length)


_numbers = itertools.count()


async def publish(
    port: int,
    messages: Iterable[tuple[str, bytes]],
    *,
    qos: int = 1,
    retain: bool = False,
    username: str | None = None,
    password: str | None = None,
    window: int = 100,
) -> None:
    """Publish and return when the broker has acknowledged (QoS 1, 2) or read (QoS 0) everything."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(connect_packet(f"publisher{next(_numbers)}", username, password))
        _, answer = await read_packet(reader)
        assert answer[1] == 0, f"the broker refuses the publisher: {answer[1]}"
        flying = 0
        for number, (topic, payload) in enumerate(messages):
            writer.write(publish_packet(topic, payload, qos=qos, mid=number % 65535 + 1, retain=retain))
            if qos:
                flying += 1
                while flying >= window:
                    flying -= await _acknowledged(reader, writer)
            elif number % 500 == 499:
                await writer.drain()
        while flying:
            flying -= await _acknowledged(reader, writer)
        writer.write(packet(PINGREQ))  # its answer says that all before it has been read
        while (await read_packet(reader))[0] & 0xF0 != PINGRESP:
            pass
        writer.write(packet(DISCONNECT))
        await writer.drain()
    finally:
        writer.close()
        await writer.wait_closed()


async def _acknowledged(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    first, body = await read_packet(reader)
    if first & 0xF0 == PUBREC:
        writer.write(packet(PUBREL | 2, body[:2]))
        return 0
    return int(first & 0xF0 in {PUBACK, PUBCOMP})


class PeerConnection:
    """One client at the broker: what it sent, and the way to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.received: list[tuple[int, bytes]] = []
        self.closed = False

    def of(self, kind: int) -> list[bytes]:
        """Return the bodies of the packets of one kind, in order."""
        return [body for first, body in self.received if first & 0xF0 == kind]

    @property
    def version5(self) -> bool:
        """Whether the client speaks MQTT 5."""
        return self.of(CONNECT)[0][6] == 5

    def send(self, *packets: bytes) -> None:
        """Send bytes to the client, in one piece."""
        self._writer.write(b"".join(packets))

    def cut(self) -> None:
        """Close the connection without a word."""
        self._writer.close()

    async def serve(self, answer: Callable[[PeerConnection, int, bytes], None]) -> None:
        """Take packets until the client goes away."""
        try:
            while True:
                first, body = await read_packet(self._reader)
                self.received.append((first, body))
                answer(self, first & 0xF0, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed = True
            self._writer.close()


class Peer:
    """A broker that answers as told: ``connack`` and ``suback`` are codes, ``None`` for silence."""

    def __init__(
        self, *, connack: int | None = 0, suback: int | None = 1, session_present: bool = False
    ) -> None:
        self.connack = connack
        self.suback = suback
        self.session_present = session_present
        self.connections: list[PeerConnection] = []
        self.port = 0
        self.denied: set[str] = set()
        """Filters whose subscription is refused as not authorized."""
        self.pings = True
        self.greeting: list[bytes] = []
        """Packets sent together with CONNACK."""

    @property
    def last(self) -> PeerConnection:
        """The newest connection."""
        return self.connections[-1]

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self.connections:
            connection.cut()
        await asyncio.gather(*self._tasks)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = PeerConnection(reader, writer)
        self.connections.append(connection)
        await connection.serve(self._answer)
        self._tasks.discard(task)

    def _answer(self, connection: PeerConnection, kind: int, body: bytes) -> None:
        if not connection.received[0][1].startswith(text("MQTT")):
            return  # a client that wants TLS
        five = b"\x00" if connection.version5 else b""
        if kind == CONNECT and self.connack is not None:
            head = packet(CONNACK, bytes([self.session_present and self.connack == 0, self.connack]) + five)
            connection.send(head, *self.greeting)
        elif kind == SUBSCRIBE and self.suback is not None:
            refused = any(text(filter) in body for filter in self.denied)
            connection.send(packet(SUBACK, body[:2] + five + bytes([0x87 if refused else self.suback])))
        elif kind == UNSUBSCRIBE:
            connection.send(packet(UNSUBACK, body[:2] + (b"\x00" + b"\x11" * 64 if five else b"")))
        elif kind == PINGREQ and self.pings:
            connection.send(packet(PINGRESP))
