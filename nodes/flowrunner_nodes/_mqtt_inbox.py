"""Between the socket and the journal: what has arrived and is not yet safe, and what may be acknowledged."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable

import msgspec

from flowrunner import Record, SourceContext

HIGH_MESSAGES = 8192
HIGH_BYTES = 16 * 2**20
"""Above either mark the socket is no longer read, until half of it is journaled."""


class Ack:
    """The acknowledgement that one message of QoS 1 or 2 waits for."""

    __slots__ = ("ledger", "packet", "waiting")

    def __init__(self, ledger: Ledger, packet: bytes, waiting: int) -> None:
        self.ledger = ledger
        self.packet = packet
        self.waiting = waiting
        """How many nodes have the message and have not journaled it yet."""


class Ledger:
    """The acknowledgements of one connection, sent in the order in which the messages came [MQTT-4.6.0-2].

    It belongs to its connection: after that has ended nothing is sent any more, since on another connection
    the same packet identifier is another message.
    """

    def __init__(self, send: Callable[[bytes], None], counts: Counter[str]) -> None:
        self._send = send
        self._counts = counts
        self._pending: deque[Ack] = deque()
        self._closed = False

    def expect(self, mid: int, flags: int, waiting: int) -> Ack:
        """Note a message that ``waiting`` nodes will journal. PUBREC stands for the receipt of QoS 2."""
        head = b"\x50\x02" if flags & 4 else b"\x40\x02"
        ack = Ack(self, head + mid.to_bytes(2, "big"), waiting)
        self._pending.append(ack)
        return ack

    def flush(self) -> None:
        """Send, in one piece, all acknowledgements that nothing before them holds back."""
        pending = self._pending
        ready: list[bytes] = []
        while pending and not pending[0].waiting:
            ready.append(pending.popleft().packet)
        if not ready:
            return
        if self._closed:
            # The broker sends these messages again, to whoever has the session then.
            self._counts["stale_acks"] += len(ready)
        else:
            self._send(b"".join(ready))

    def close(self) -> None:
        """Send nothing from now on."""
        self._closed = True


class Batch(msgspec.Struct, eq=False):
    """What a node journals in one go."""

    records: list[Record] = []
    acks: list[Ack] = []
    size: int = 0
    """Bytes of payload."""


class Inbox:
    """The messages that have arrived for one node and are not yet journaled."""

    def __init__(self, context: SourceContext, on_space: Callable[[], None]) -> None:
        self.context = context
        self.leaving_since: float | None = None
        """Loop time of the node's ``close``; its messages are kept for a while, it may come back."""
        self._on_space = on_space
        self._waiting = Batch()
        self._taken: Batch | None = None
        self._arrived = asyncio.Event()

    def level(self) -> float:
        """Return how full it is; 1 is the mark at which reading stops."""
        taken = self._taken or _NOTHING
        messages = len(self._waiting.records) + len(taken.records)
        return max(messages / HIGH_MESSAGES, (self._waiting.size + taken.size) / HIGH_BYTES)

    def __len__(self) -> int:
        return len(self._waiting.records) + len((self._taken or _NOTHING).records)

    def put(self, record: Record, ack: Ack | None) -> None:
        """Add a message."""
        waiting = self._waiting
        if not waiting.records:
            self._arrived.set()
        waiting.records.append(record)
        waiting.size += len(record.data)
        if ack is not None:
            waiting.acks.append(ack)

    def drop(self, reason: str) -> None:
        """Count a message that is not taken in."""
        self.context.counters.received += 1
        self.context.counters.drop(reason)

    def filter_out(self) -> None:
        """Count a message that the node's options leave out."""
        self.context.counters.received += 1
        self.context.counters.filtered += 1

    async def take(self) -> Batch:
        """Wait for messages and return all there are; the same ones again until they are settled."""
        if self._taken is None:
            await self._arrived.wait()
            self._arrived.clear()
            self._taken, self._waiting = self._waiting, Batch()
        return self._taken

    def settle(self, batch: Batch) -> None:
        """Acknowledge a batch that is safe in the journal."""
        if batch is self._taken:
            self._taken = None
            settle(batch.acks)
            self._on_space()

    def abandon(self) -> int:
        """Give up everything for a node that does not come back; return the number of messages."""
        count = len(self)
        settle((self._taken or _NOTHING).acks)
        settle(self._waiting.acks)
        self._taken, self._waiting = None, Batch()
        self._arrived.clear()
        return count


_NOTHING = Batch()


def settle(acks: list[Ack]) -> None:
    """Count one node less for each message and send what can be sent."""
    ledgers: dict[Ledger, None] = {}
    for ack in acks:
        ack.waiting -= 1
        ledgers[ack.ledger] = None
    for ledger in ledgers:
        ledger.flush()
