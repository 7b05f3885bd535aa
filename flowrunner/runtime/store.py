"""Checkpoints and dead letters of a flow: what it needs beside its journal to go on where it was."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import msgspec

from flowrunner.message import Message
from flowrunner.runtime import database
from flowrunner.runtime.statefile import Contents, Letter, Saved, StateFile
from flowrunner.runtime.worker import Worker

MAX_DEAD_LETTERS = 100_000
MAX_DEAD_LETTER_BYTES = 64 * 2**20
_REPR_CHARACTERS = 65_536


class Checkpoint(msgspec.Struct, frozen=True):
    """A consistent cut through a flow: everything up to ``position`` is done, and these are the states then."""

    position: int
    clock: int
    states: dict[str, bytes]
    """State of each node, encoded, by node."""
    definitions: dict[str, str]
    """Hash of each node's definition, by node: whether a state still fits."""
    counters: dict[str, Any]
    created: int


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that could not be processed, and why.

    ``position`` and ``clock`` are where it comes from: a replay makes the same letter again, and the store
    recognises it.
    """

    position: int
    clock: int
    node: str
    reason: str
    topic: str
    payload: Any
    time: int
    meta: Mapping[str, Any]
    created: int

    @classmethod
    def of(cls, message: Message, node: str, reason: str, created: int) -> DeadLetter:
        """Return the letter for a message that failed at ``node``."""
        return cls(
            message.seq,
            message.clock,
            node,
            reason,
            message.topic,
            message.payload,
            message.time,
            message.meta,
            created,
        )


class Store(Protocol):
    """What a flow needs of its store. All calls are made on the event loop, and none blocks it.

    Every call raises :class:`JournalFull` or ``OSError`` when the disk does not do what it should; nothing of
    that call is then stored.
    """

    dead_letter_count: int
    dead_letter_bytes: int
    purged: int
    """Dead letters deleted for want of room, since the store was opened."""
    damaged: int
    """Checkpoints and files found unreadable, since the store was opened."""

    async def open(self) -> None:
        """Open the file; a damaged one is set aside and begun anew."""

    async def load(self) -> Checkpoint | None:
        """Return the newest readable checkpoint: the flow begins again there."""

    async def save(self, checkpoint: Checkpoint, dead_letters: Sequence[DeadLetter]) -> int:
        """Commit a checkpoint and the dead letters up to it, all or nothing.

        Returns the position up to which the journal is no longer needed: that of the checkpoint before, which
        is kept for the case that this one cannot be read some day.
        """

    async def add_dead_letters(self, dead_letters: Sequence[DeadLetter]) -> None:
        """Commit dead letters before their checkpoint is due."""

    async def read_dead_letters(self, after: int = 0, limit: int = 100) -> list[tuple[int, DeadLetter]]:
        """Return dead letters with their numbers, oldest first, those after number ``after``."""

    async def delete_dead_letters(self, numbers: Sequence[int]) -> None:
        """Delete dead letters by number."""

    async def close(self) -> None:
        """Close the file after the calls made so far."""


class DiskStore:
    """A store in a SQLite file."""

    def __init__(
        self,
        path: Path | None,
        *,
        max_dead_letters: int = MAX_DEAD_LETTERS,
        max_dead_letter_bytes: int = MAX_DEAD_LETTER_BYTES,
    ) -> None:
        self.dead_letter_count = 0
        self.dead_letter_bytes = 0
        self.purged = 0
        self.damaged = 0
        self._file = StateFile(path, max_letters=max_dead_letters, max_letter_bytes=max_dead_letter_bytes)
        self._worker: Worker | None = None
        self._ordinals: Counter[bytes] = Counter()

    async def open(self) -> None:
        """Open the file; a damaged one is set aside and begun anew."""
        self._worker = Worker("store")
        try:
            self._apply(await self._call(self._file.open))
        except BaseException:
            await self.close()
            raise

    async def load(self) -> Checkpoint | None:
        """Return the newest readable checkpoint."""
        self._ordinals.clear()
        saved = await self._call(self._file.load)
        self._apply(await self._call(self._file.contents))
        if saved is None:
            return None
        position, clock, definitions, counters, created = msgspec.msgpack.decode(saved.head)
        return Checkpoint(position, clock, dict(saved.states), definitions, counters, created)

    async def save(self, checkpoint: Checkpoint, dead_letters: Sequence[DeadLetter]) -> int:
        """Commit a checkpoint and the dead letters up to it; return what the journal may release."""
        contents = await self._write(checkpoint, dead_letters)
        self._ordinals.clear()
        return contents.releasable

    async def add_dead_letters(self, dead_letters: Sequence[DeadLetter]) -> None:
        """Commit dead letters before their checkpoint is due."""
        await self._write(None, dead_letters)

    async def read_dead_letters(self, after: int = 0, limit: int = 100) -> list[tuple[int, DeadLetter]]:
        """Return dead letters with their numbers, oldest first."""
        rows = await self._call(partial(self._file.read_letters, after, limit))
        return [(number, msgspec.msgpack.decode(data, type=DeadLetter)) for number, data in rows]

    async def delete_dead_letters(self, numbers: Sequence[int]) -> None:
        """Delete dead letters by number."""
        self._apply(await self._call(partial(self._file.delete_letters, numbers)))

    async def close(self) -> None:
        """Close the file after the calls made so far."""
        if self._worker is not None:
            worker, self._worker = self._worker, None
            closed = worker.call(self._file.close)
            worker.stop()
            await closed

    async def _write(self, checkpoint: Checkpoint | None, dead_letters: Sequence[DeadLetter]) -> Contents:
        ordinals = self._ordinals.copy()
        saved = None if checkpoint is None else _pack(checkpoint)
        letters = [_letter(letter, ordinals) for letter in dead_letters]
        contents = await self._call(partial(self._file.save, saved, letters))
        self._ordinals = ordinals
        self._apply(contents)
        return contents

    async def _call[T](self, function: Callable[[], T]) -> T:
        if self._worker is None:
            raise OSError("the store is closed")
        try:
            return await self._worker.call(function)
        except sqlite3.Error as error:
            raise database.as_disk_error(error) from error

    def _apply(self, contents: Contents) -> None:
        self.dead_letter_count, self.dead_letter_bytes = contents.letters, contents.letter_bytes
        self.purged, self.damaged = contents.purged, contents.damaged


class MemoryStore(DiskStore):
    """A store for ``delivery: memory``: the same, and gone with the process."""

    def __init__(self) -> None:
        super().__init__(None)


def _pack(checkpoint: Checkpoint) -> Saved:
    head = [
        checkpoint.position,
        checkpoint.clock,
        checkpoint.definitions,
        checkpoint.counters,
        checkpoint.created,
    ]
    return Saved(checkpoint.position, msgspec.msgpack.encode(head), checkpoint.states)


def _letter(letter: DeadLetter, ordinals: Counter[bytes]) -> Letter:
    """Encode a letter under a key that a replay arrives at again: its origin, its content and its repetition."""
    data = _encode(letter)
    content = _encode(msgspec.structs.replace(letter, created=0, reason=""))
    digest = blake2b(content, digest_size=16).digest()
    ordinals[digest] += 1
    return Letter(digest + ordinals[digest].to_bytes(4, "big"), letter.created, data)


def _encode(letter: DeadLetter) -> bytes:
    try:
        return msgspec.msgpack.encode(letter, enc_hook=dict)
    except (TypeError, ValueError, OverflowError, RecursionError):
        # What no format can hold is often why the message failed: keep at least what a person can read.
        return msgspec.msgpack.encode(
            msgspec.structs.replace(
                letter,
                reason=_printable(letter.reason),
                topic=_printable(letter.topic),
                payload=_printable(letter.payload),
                meta={_printable(name): _printable(value) for name, value in letter.meta.items()},
            )
        )


def _printable(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):
        text = f"<{type(value).__name__}>"
    return text[:_REPR_CHARACTERS].encode("utf-8", "backslashreplace").decode()
