"""The outbox of a sink: messages on disk, in order, between the flow and a sink that may be down.

A journal of its own keeps them (see :mod:`flowrunner.runtime.journal.disk`); what has come in and what has ended is
part of the flow's checkpoint. So after a crash the flow makes again what the checkpoint does not know of, and
the entries that it had made already do not count.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from flowrunner.clock import Clock, FlowClock
from flowrunner.errors import JournalFull, MessageError
from flowrunner.message import NO_META, Message, Record
from flowrunner.runtime.journal import DiskJournal
from flowrunner.runtime.outbox.positions import Positions

RETENTION = 600.0
"""Seconds after which a file that has been written out is deleted; earlier when its room is needed."""
_PUT_PART = 16
"""A commit holds at most this part of the outbox, so that what is written out gives enough room for it."""
_LARGEST_PART = 4
_LOOK_AGAIN = 10.0


class Recovery(msgspec.Struct, frozen=True):
    """What an outbox was found with, against what the checkpoint says that it holds."""

    found: int = 0
    """Messages beyond those that the checkpoint knows: they came in, and will be written."""
    ended: int = 0
    """Messages that were released before the crash, when their room was needed."""
    lost: int = 0


class Outbox:
    """Messages on their way to one sink. Put in by one task, taken by another."""

    def __init__(
        self, directory: Path, node: str, max_bytes: int, clock: Clock, *, on_lost: Callable[[int], None]
    ) -> None:
        """``on_lost`` hears of messages that cannot be read any more, when their turn has come."""
        self._node = node
        self._on_lost = on_lost
        self._max_bytes = max_bytes
        self._journal = DiskJournal(
            directory, FlowClock(clock), clock, max_bytes=max_bytes, retention=RETENTION
        )
        self._positions = Positions()
        self._read = 0
        self._numbers: dict[int, int] = {}
        """Of the messages that were taken and have not ended: the number of each, by identity."""
        self._handed: Positions | None = None
        self._saved: Positions | None = None
        self._released = 0
        self._unsaved: list[int] = []
        """How far everything had ended before a message failed whose end is not part of a checkpoint."""
        self._handed_unsaved: list[int] = []
        self._news = asyncio.Event()
        self._progress = asyncio.Event()

    @property
    def disk_bytes(self) -> int:
        """What the outbox takes on disk, with what has been written out and is not deleted yet."""
        return self._journal.bytes

    @property
    def messages(self) -> int:
        """Messages that have not ended."""
        return self._positions.count

    @property
    def oldest_clock(self) -> int:
        """Flow clock of about the oldest message that has not ended; 0 when there is none."""
        return self._journal.oldest_clock if self._positions.count else 0

    @property
    def changed(self) -> bool:
        """Whether anything has come in or ended since the last snapshot."""
        return self._positions != (self._handed or self._saved)

    async def open(self, state: Any, known: int) -> Recovery:
        """Go on from a snapshot, or from what the files say when there is none.

        ``known`` are the messages that the checkpoint counts as held here. Raises ``OSError`` when the disk does
        not answer.
        """
        journal = self._journal
        await journal.open()
        if state is not None:
            self._positions = msgspec.convert(state, Positions)
        elif (cursor := journal.cursors.get(self._node)) is not None:
            self._positions = msgspec.convert(cursor, Positions)
        else:
            self._positions = Positions(last=journal.last)
        recovery = self._reconcile(known, damaged=bool(journal.damaged.files))
        self._read = self._positions.done
        self._saved = self._positions.copy()
        journal.release(self._positions.done)
        self._released = self._positions.done
        self._note(self._saved)
        return recovery

    async def put(self, records: Sequence[Record]) -> None:
        """Return when the records are safe.

        Raises :class:`JournalFull` or ``OSError``; nothing of them is then in the outbox.
        """
        await self._journal.append(self._node, records)
        self._positions.extend(self._journal.last, len(records))
        self._news.set()

    async def take(self) -> list[Message]:
        """Return the next messages, at least one; they are the caller's until they end."""
        while True:
            entries = await self._journal.read(self._read) if self._read < self._positions.last else []
            newest = min(entries[-1].seq, self._positions.last) if entries else self._positions.last
            if newest > self._read:
                readable = {entry.seq: entry.data for entry in entries}
                if found := self._accept(readable, newest):
                    return found
            else:
                self._news.clear()
                await self._news.wait()

    def end(self, messages: Iterable[Message], *, failed: bool) -> None:
        """Note that messages have ended; ``failed``: some of them in a way that only a checkpoint makes safe."""
        if failed:
            self._unsaved.append(self._positions.done)
        numbers = [self._numbers.pop(id(message), 0) for message in messages]
        self._positions.end(
            number for number in numbers if number
        )  # a sink may have put others in their place
        self._progress.set()

    async def progress(self) -> None:
        """Return when messages have ended since the last call, or when it is time to look again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_AGAIN):
                await self._progress.wait()
        self._progress.clear()

    async def give_way(self) -> bool:
        """Release what has ended without waiting for a checkpoint; return whether there was anything."""
        return await self._release(min([self._positions.done, *self._unsaved, *self._handed_unsaved]))

    async def drop_oldest(self, count: int) -> int:
        """Let the oldest messages that are not taken go, about ``count``; return how many those were."""
        upto = min(self._read + count, self._positions.last)
        dropped = self._positions.end(range(self._read + 1, upto + 1))
        self._read = max(self._read, upto)
        await self._release(upto)
        return dropped

    def snapshot(self) -> Any:
        """Return what has come in and what has ended, for a checkpoint."""
        self._handed = self._positions.copy()
        self._handed_unsaved += self._unsaved
        self._unsaved = []
        return msgspec.to_builtins(self._handed)

    def saved(self) -> None:
        """Note that the last snapshot is on disk; what the one before it can do without is released."""
        if self._handed is None:
            return
        before, self._saved = self._saved, self._handed
        self._handed_unsaved = []
        if before is not None and before.done > self._released:
            self._released = before.done
            self._journal.release(before.done)
        if before != self._saved:
            self._note(self._saved)

    async def close(self, *, for_good: bool = False) -> None:
        """Commit what is pending and let go of the files; ``for_good``: no checkpoint will say where to go on."""
        if for_good:
            self._note(self._positions)
        await self._journal.close()

    def _note(self, positions: Positions) -> None:
        """Write down what a checkpoint knows, for the case that no checkpoint knows of the outbox any more."""
        with contextlib.suppress(JournalFull, OSError):
            noted = self._journal.append(self._node, [], msgspec.to_builtins(positions))
            noted.add_done_callback(
                asyncio.Future.exception
            )  # the next put meets the same disk, and waits for it

    def record(self, message: Message) -> Record:
        """Return a message as it is written down.

        Raises :class:`MessageError` for one that cannot be.
        """
        try:
            data = _ENCODER.encode(
                (
                    message.topic,
                    message.payload,
                    message.time,
                    dict(message.meta),
                    message.clock,
                    message.seq,
                )
            )
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise MessageError(f"the outbox cannot hold this message: {error}") from None
        if len(data) > self._max_bytes // _LARGEST_PART:
            raise MessageError(
                f"the message takes {len(data)} bytes, more than a quarter of the outbox ({self._max_bytes} bytes)"
            )
        return Record(data, time=0, clock=max(message.clock, 0))

    def portions(self, records: Sequence[Record]) -> list[Sequence[Record]]:
        """Return the records in pieces that are small against the outbox, in order."""
        pieces, start, size = [], 0, 0
        for index, record in enumerate(records):
            size += len(record.data)
            if size > self._max_bytes // _PUT_PART and index > start:
                pieces.append(records[start:index])
                start, size = index, len(record.data)
        return [*pieces, records[start:]] if records else []

    async def _release(self, upto: int) -> bool:
        if upto <= self._released:
            return False
        self._released = upto
        self._journal.release(upto)
        await self._journal.room()
        return True

    def _accept(self, readable: Mapping[int, bytes], newest: int) -> list[Message]:
        """Return the messages of entries up to ``newest``; those that count and cannot be read are lost."""
        found, lost = list[Message](), list[int]()
        for number in self._positions.live(self._read, newest):
            message = _decode(readable.get(number))
            if message is None:
                lost.append(number)
            else:
                found.append(message)
                self._numbers[id(message)] = number
        self._read = newest
        if lost:
            self._on_lost(self._positions.end(lost))
        return found

    def _reconcile(self, known: int, *, damaged: bool) -> Recovery:
        """Leave out what the checkpoint does not know of and what is not there any more."""
        positions, journal = self._positions, self._journal
        first = journal.first or journal.last + 1
        released = positions.end(range(positions.done + 1, min(first, positions.last + 1)))
        positions.cut(journal.last)
        missing = max(0, known - positions.count)
        ended = 0 if damaged else min(released, missing)
        return Recovery(found=max(0, positions.count - known), ended=ended, lost=missing - ended)


def _decode(data: bytes | None) -> Message | None:
    if data is None:
        return None
    try:
        topic, payload, time, meta, clock, seq = msgspec.msgpack.decode(data)
    except (ValueError, TypeError, RecursionError):
        return None  # whatever it is, an entry that cannot be read must not stop the others
    return Message(topic, payload, time, meta or NO_META, clock, seq)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a value of type {type(value).__name__}")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)
