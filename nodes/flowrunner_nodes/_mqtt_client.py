"""One connection to a broker: aiomqtt and paho for the protocol, a receive path of our own for the messages.

The only module that touches what is private in aiomqtt and paho; ``tests/nodes/test_mqtt_client.py`` holds the
contract with their present versions. Their own receive path acknowledges a message before anybody has it, takes four
system calls and one task a packet, and leaks sockets and tasks when a connection fails.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Container
from typing import Any, Protocol

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from flowrunner_nodes._mqtt_packets import CONNACK, PUBACK, PUBREL, PacketError, PacketReader, Publish
from flowrunner_nodes._mqtt_publication import BrokerLimits
from flowrunner_nodes._mqtt_reading import ReadLoop
from flowrunner_nodes._mqtt_settings import LinkError, Settings, Subscription, refusal
from flowrunner_nodes._mqtt_sockets import open_socket

TIMEOUT = 10.0
"""Seconds for the way to an open connection, and for each answer of the broker after that."""
_CHUNK = 2**18
_OPAQUE = 0
"""The kind of packet that paho sends and does nothing else about."""
_SILENT = logging.Logger("mqtt", logging.CRITICAL + 1)  # noqa: LOG001  # theirs would repeat what we report


class Receiver(Protocol):
    """Who takes in what the socket brings, and hears when it has taken all. Must not raise for any message."""

    def receive(self, publishes: list[Publish]) -> None: ...
    def pass_over(self, publishes: list[Publish]) -> None: ...
    def acknowledged(self, body: bytes) -> None: ...
    def drained(self) -> None: ...


class MqttClient(aiomqtt.Client):
    """A client for one connection; a new one is made for each attempt."""

    def __init__(self, settings: Settings, receiver: Receiver) -> None:
        five = settings.version5
        super().__init__(
            settings.host,
            settings.port,
            username=settings.username,
            password=settings.password,
            identifier=settings.client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if five else aiomqtt.ProtocolVersion.V311,
            clean_session=None if five else not settings.session_expiry,
            timeout=TIMEOUT,
            logger=_SILENT,
        )
        self.pending_calls_threshold = 2**16  # a subscription for each filter, all at once
        self._settings = settings
        self._receiver = receiver
        self._packets = PacketReader(version5=five, max_packet=settings.max_packet)
        self._accepted: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[LinkError] = self._loop.create_future()
        """Done when the connection is no more."""
        self.reading: ReadLoop | None = None
        self.session_present = False
        self.identifiers_available = five
        self.version5 = five
        self.limits = BrokerLimits()

    async def open(self) -> None:
        """Connect and wait until the broker has accepted. Raises :class:`LinkError`; then call ``close``."""
        settings = self._settings
        try:
            async with asyncio.timeout(TIMEOUT):
                sock = await open_socket(settings.host, settings.port, settings.tls)
                # paho would open the socket itself, blocking, in a thread that cannot be cancelled.
                self._client._create_socket = lambda: sock  # type: ignore[method-assign]  # noqa: SLF001
                self._start()
                await asyncio.wait((self._accepted, self.lost), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise LinkError(
                f"{settings.host}:{settings.port} does not answer within {TIMEOUT:.0f} s"
            ) from None
        if self.lost.done():
            raise self.lost.result()

    def _start(self) -> None:
        settings = self._settings
        self._client.manual_ack_set(on=True)
        if not settings.version5:
            self._client.connect(settings.host, settings.port, settings.keepalive)
            return
        properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = settings.session_expiry
        properties.MaximumPacketSize = settings.max_packet
        properties.ReceiveMaximum = settings.receive_maximum
        self._client.connect(
            settings.host,
            settings.port,
            settings.keepalive,
            clean_start=not settings.session_expiry,
            properties=properties,
        )

    @property
    def keepalive(self) -> int:
        """Seconds after which the broker may give up a silent client; the broker's own wish if it has one."""
        return self._client.keepalive

    async def keep_alive(self) -> None:
        """Send pings and notice a dead connection, until it is lost."""
        while not self.lost.done():
            self._client.loop_misc()
            await asyncio.wait([self.lost], timeout=1)

    async def add(self, subscription: Subscription) -> int:
        """Subscribe and return the broker's answer: the granted QoS, or a reason code of 128 and more."""
        if not self._settings.version5:
            codes = await self._answer(self.subscribe(subscription.filter, subscription.qos))
            return int(codes[0].value)
        properties: Any = Properties(PacketTypes.SUBSCRIBE)  # type: ignore[no-untyped-call]
        if self.identifiers_available:
            properties.SubscriptionIdentifier = subscription.identifier
        handling = 1 if subscription.retained else 2
        options = SubscribeOptions(qos=subscription.qos, retainHandling=handling)
        codes = await self._answer(self.subscribe([(subscription.filter, options)], properties=properties))
        return int(codes[0].value)

    async def remove(self, filters: list[str]) -> None:
        """Unsubscribe."""
        await self._answer(self.unsubscribe(filters))

    async def _answer(self, call: Any) -> Any:
        try:
            return await call
        except (aiomqtt.MqttError, ValueError) as error:
            raise LinkError(f"the broker does not answer: {error}") from None

    def next_mid(self, taken: Container[int]) -> int:
        """Return a packet identifier that neither a subscription nor one of ours has."""
        while True:
            mid = self._client._mid_generate()  # noqa: SLF001
            if not any(mid in each for each in (taken, self._pending_subscribes, self._pending_unsubscribes)):
                return mid

    def send(self, packets: bytes) -> None:
        """Send complete packets."""
        if not self.lost.done():
            # paho slices what is left before each write: of a view that is no copy.
            view: Any = memoryview(packets)
            self._client._packet_queue(_OPAQUE, view, 0, 0)  # noqa: SLF001

    @property
    def unsent(self) -> int:
        """Bytes that the socket has not taken yet."""
        return sum(packet["to_process"] for packet in self._client._out_packet)  # noqa: SLF001

    def close(self) -> None:
        """Say goodbye if that is possible at once, and let go of everything. Safe to call at any time."""
        client = self._client
        try:
            if not self.lost.done() and client.disconnect() == paho.MQTT_ERR_SUCCESS:
                client.loop_write()
        except OSError:
            self._lose(LinkError("the connection broke"))
        finally:
            client._sock_close()  # noqa: SLF001
            self._lose(LinkError("closed"))

    def fail(self, error: LinkError) -> None:
        """Give up the connection."""
        self._lose(error)
        self._client._sock_close()  # noqa: SLF001

    def _lose(self, error: LinkError) -> None:
        if not self.lost.done():
            self.lost.set_result(error)

    def _read(self) -> int:
        """Read what there is, once; return the number of messages."""
        try:
            return self._read_chunk()
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        except OSError as error:
            self.fail(_broken(error))
        except PacketError as error:
            self.fail(LinkError(str(error)))
        except Exception as error:  # paho refuses a malformed packet with exceptions of many kinds
            self.fail(
                LinkError(f"the broker sent what cannot be understood: {type(error).__name__}: {error}")
            )
        return 0

    def _read_chunk(self) -> int:
        sock: Any = self._client.socket()
        count = 0
        while sock is not None:
            data = sock.recv(_CHUNK)
            if not data:
                self.fail(LinkError("the broker closed the connection", by_broker=True))
                break
            self._client._last_bytes_received = self._loop.time()  # noqa: SLF001
            batch = self._packets.feed(data)
            for first, body in batch.controls:
                self._control(first, body)
            if batch.passed_over:
                self._receiver.pass_over(batch.passed_over)
            if batch.publishes:
                count += len(batch.publishes)
                self._receiver.receive(batch.publishes)
            if not (self._settings.tls and sock.fileno() >= 0 and sock.pending()):
                break
        return count

    def _control(self, first: int, body: bytes) -> None:
        """Hand a packet that is no message to paho."""
        kind = first & 0xF0
        if kind == CONNACK:
            self.session_present = bool(body[0] & 1)
            if body[1]:
                self.fail(refusal(body[1], five=self._settings.version5))
                return
        elif kind == PUBACK:
            self._receiver.acknowledged(body)
            return
        elif kind == PUBREL:
            # paho forgets after a reconnect what it answered PUBREC to, and would leave the broker waiting.
            self.send(b"\x70\x02" + body[:2])
            return
        packet: Any = self._client._in_packet  # noqa: SLF001
        packet.update(command=first, packet=bytearray(body), remaining_length=len(body), pos=0)
        code = self._client._packet_handle()  # noqa: SLF001
        packet.update(command=0, packet=bytearray())
        if code > 0:
            self.fail(LinkError(f"the broker sent what cannot be understood: {paho.error_string(code)}"))

    def _on_connect(
        self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None
    ) -> None:
        del client, userdata, flags, reason_code
        self.identifiers_available &= bool(getattr(properties, "SubscriptionIdentifierAvailable", 1))
        most = BrokerLimits()
        self.limits = BrokerLimits(
            in_flight=getattr(properties, "ReceiveMaximum", most.in_flight),
            packet=getattr(properties, "MaximumPacketSize", most.packet),
            retain=bool(getattr(properties, "RetainAvailable", most.retain)),
            qos=getattr(properties, "MaximumQoS", most.qos),
        )
        if not self._accepted.done():
            self._accepted.set_result(None)

    def _on_disconnect(
        self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None
    ) -> None:
        del client, userdata
        if flags.is_disconnect_packet_from_server:
            words = getattr(properties, "ReasonString", None) or str(reason_code).lower()
            reason = f"the broker ended the connection: {words}"
            self._lose(LinkError(reason, code=reason_code.value, by_broker=True))
        else:
            self._lose(LinkError(f"the connection broke: {str(reason_code).lower()}"))

    def _on_socket_open(self, client: Any, userdata: Any, sock: Any) -> None:
        del client, userdata
        self.reading = ReadLoop(self._loop, sock.fileno(), self._read)

    def _on_socket_close(self, client: Any, userdata: Any, sock: Any) -> None:
        del client, userdata, sock
        if self.reading is not None:
            self.reading.stop()

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
        del userdata
        # Directly: all runs in the loop's thread, and a callback that comes after the close would hit another socket.
        self._loop.add_writer(sock.fileno(), self._write, client)

    def _write(self, client: paho.Client) -> None:
        try:
            client.loop_write()
        except OSError as error:
            self.fail(_broken(error))
        if not client.want_write():
            self._receiver.drained()


def _broken(error: OSError) -> LinkError:
    by_broker = isinstance(error, ConnectionResetError | BrokenPipeError)
    return LinkError(f"the connection broke: {error.strerror or error}", by_broker=by_broker)
