"""The messages in flight over one connection to a broker: sent within its limits, until acknowledged or lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from flowrunner_nodes._mqtt_publication import (
    NO_RETAIN,
    TOO_LARGE,
    Answer,
    BrokerLimits,
    Publication,
    read_puback,
)
from flowrunner_nodes._mqtt_settings import LinkError

if TYPE_CHECKING:
    from flowrunner_nodes._mqtt_client import MqttClient

PATIENCE = 30.0
"""Seconds without any progress after which a connection is given up: MQTT knows no other way to send again."""
_MOST_MESSAGES = 1_000
_MOST_BYTES = 2**20
_TAKEN = Answer(0)


class Sent:
    """A message on its way. ``answer`` without a value when ``done``: nobody knows whether the broker has it."""

    __slots__ = ("answer", "done", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.answer: Answer | None = None
        self.done = False

    def end(self, answer: Answer | None) -> None:
        """Note what has become of it."""
        self.answer, self.done = answer, True


class Outgoing:
    """What goes out over one connection; ended by ``close`` when that is no more."""

    def __init__(self, client: MqttClient, on_wait: Callable[[], None]) -> None:
        self.limits: BrokerLimits = client.limits
        self.version5 = client.version5
        self._client = client
        self._on_wait = on_wait
        self._window = min(client.limits.in_flight, _MOST_MESSAGES)
        self._flying: dict[int, Sent] = {}
        self._unsent: list[Sent] = []
        self._bytes = 0
        self._packets: list[bytes] = []
        self._changed = asyncio.Event()
        self.error: LinkError | None = None
        """Why the connection is no more."""

    @property
    def waiting(self) -> bool:
        """Whether there are messages that the broker has not answered."""
        return bool(self._flying)

    async def publish(self, publication: Publication) -> Sent:
        """Send as soon as the broker and the socket take one more."""
        mid = self._client.next_mid(self._flying) if publication.qos else 0
        packet = publication.packet(mid, five=self.version5)
        sent = Sent(len(packet))
        if (refusal := self._refusal(publication, sent.size)) is not None:
            sent.end(refusal)
            return sent
        while self.error is None and not self._has_room(sent, publication.qos):
            await self._wait()
        if self.error is not None:
            sent.end(None)
            return sent
        self._bytes += sent.size
        if publication.qos:
            self._flying[mid] = sent
        else:
            self._unsent.append(sent)
        if not self._packets:  # all that is published in one go leaves in one piece
            asyncio.get_running_loop().call_soon(self._flush)
        self._packets.append(packet)
        return sent

    async def answer(self, sent: Sent) -> Answer | None:
        """Return the broker's answer to a message; ``None`` when the connection was lost before it.

        A message of QoS 0 is answered when the socket has taken it.
        """
        while not sent.done:
            await self._wait()
        return sent.answer

    def acknowledged(self, body: bytes) -> None:
        """Take in a PUBACK packet."""
        mid, answer = read_puback(body)
        sent = self._flying.pop(mid, None)
        if sent is not None:
            self._end(sent, answer)

    def drained(self) -> None:
        """Note that the socket has taken everything."""
        if self._unsent and not self._packets:
            unsent, self._unsent = self._unsent, []
            for sent in unsent:
                self._end(sent, _TAKEN)

    def close(self, error: LinkError) -> None:
        """End what is on its way, as lost."""
        self.error = error
        for sent in (*self._flying.values(), *self._unsent):
            self._end(sent, None)
        self._flying.clear()
        self._unsent.clear()
        self._packets.clear()
        self._changed.set()

    def _refusal(self, publication: Publication, size: int) -> Answer | None:
        """Return what the broker would end the connection for, by its own words at the beginning of it."""
        if size > self.limits.packet:
            words = f"it has {size} bytes as a packet, and the broker takes {self.limits.packet}"
            return Answer(TOO_LARGE, words)
        if publication.retain and not self.limits.retain:
            return Answer(NO_RETAIN)
        return None

    def _has_room(self, sent: Sent, qos: int) -> bool:
        if qos and len(self._flying) >= self._window:
            return False
        return not self._bytes or self._bytes + sent.size <= _MOST_BYTES

    def _flush(self) -> None:
        packets, self._packets = self._packets, []
        if packets:
            self._client.send(b"".join(packets))

    def _end(self, sent: Sent, answer: Answer | None) -> None:
        self._bytes -= sent.size
        sent.end(answer)
        self._changed.set()

    async def _wait(self) -> None:
        """Return when something has changed; give the connection up when nothing does for long."""
        self._on_wait()
        self._changed.clear()
        unsent = self._client.unsent
        try:
            async with asyncio.timeout(PATIENCE):
                await self._changed.wait()
        except TimeoutError:
            if self._client.unsent == unsent:
                self._client.fail(LinkError(f"the broker has acknowledged nothing for {PATIENCE:.0f} s"))
