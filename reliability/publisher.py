"""A publisher that knows every message it published, and which of them the broker has taken over."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from tests.servers.mqtt_peer import PUBACK, connect_packet, publish_packet, read_packet

POISON_EVERY = 211
"""One payload in so many is no JSON."""
STRANGE_TOPIC = "home/strange/climate"
"""For messages that have no number and are of no use to any node."""
_ANSWER_SECONDS = 3.0
_PAUSE = 0.2
_numbers = itertools.count()


def payload(number: int) -> bytes:
    """Return the message with a number: a temperature, which is sometimes nonsense, and sometimes no JSON at all."""
    temperature = 150.0 if number % 97 == 0 else 20.0 + number % 31 / 10
    text = f'{{"id": {number}, "temperature": {temperature}}}'
    return text[: -1 if number % POISON_EVERY == 0 else None].encode()


def number_of(data: str | bytes) -> int:
    """Return the number in a payload, a stored line or a row."""
    text = data.decode() if isinstance(data, bytes) else data
    found = re.search(r'\bid"?[=:]\s*(\d+)', text)
    if found is None:
        raise ValueError(f"no number in {text[:100]!r}")
    return int(found[1])


def is_poison(number: int) -> bool:
    """Whether the message with this number cannot be decoded."""
    return number % POISON_EVERY == 0


class Publisher:
    """Publishes numbered messages with QoS 1, each once, over as many connections as it takes."""

    def __init__(self, port: int, rate: float, topics: int = 10) -> None:
        self.published = 0
        """Messages that were sent, or may have been: their numbers are 1 to this."""
        self.acknowledged: dict[int, float] = {}
        """Number → time of the broker's acknowledgement, on ``time.monotonic``."""
        self._port = port
        self._period = 1 / rate
        self._topics = topics
        self._flying: dict[int, int] = {}

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with self._connected() as (reader, writer), asyncio.TaskGroup() as group:
                    receiving = group.create_task(self._receive(reader))
                    group.create_task(self._send(writer, receiving))
            await asyncio.sleep(_PAUSE)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._flying.clear()
        try:
            writer.write(connect_packet(f"numbers{next(_numbers)}"))
            async with asyncio.timeout(_ANSWER_SECONDS):
                await read_packet(reader)
            with _only_the_first():
                yield reader, writer
        finally:
            writer.transport.abort()

    async def _send(self, writer: asyncio.StreamWriter, receiving: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not receiving.done():
            number = self.published = self.published + 1
            mid = number % 65535 + 1
            self._flying[mid] = number
            topic = f"home/room{number % self._topics}/climate"
            writer.write(publish_packet(topic, payload(number), qos=1, mid=mid))
            await writer.drain()
            due = max(due + self._period, loop.time() - 1)
            await asyncio.sleep(due - loop.time())

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        while True:
            async with asyncio.timeout(_ANSWER_SECONDS):
                first, body = await read_packet(reader)
            if first & 0xF0 == PUBACK:
                number = self._flying.pop(int.from_bytes(body[:2], "big"), None)
                if number is not None:
                    self.acknowledged[number] = time.monotonic()


@contextlib.contextmanager
def _only_the_first() -> Iterator[None]:
    """Raise the first of the errors that a group of tasks ended with."""
    try:
        yield
    except* (OSError, TimeoutError, asyncio.IncompleteReadError) as errors:
        raise errors.exceptions[0] from None
