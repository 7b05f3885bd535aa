"""Checkpoints and dead letters of a flow: what it needs beside its journal to go on where it was."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec

from flowrunner.clock import Clock
from flowrunner.runtime import database
from flowrunner.runtime.checkpoints.state import Chunks
from flowrunner.runtime.checkpoints.statefile import Contents, StateFile
from flowrunner.runtime.checkpoints.table import Saved
from flowrunner.runtime.letters import table as letter_table
from flowrunner.runtime.letters.letter import DeadLetter, pack
from flowrunner.runtime.letters.table import Caps, Kept, Selection, Tally
from flowrunner.runtime.worker import Worker

DEFAULT_CAPS = Caps()
EVERY = Selection()


class Checkpoint(msgspec.Struct, frozen=True):
    """A consistent cut through a flow: everything up to ``position`` is done, and these are the states then."""

    position: int
    clock: int
    states: dict[str, Chunks]
    """State of each node that has one, encoded, by node."""
    versions: dict[str, int]
    """Version of each node type's state, by node; 1 where it is missing."""
    definitions: dict[str, str]
    """Hash of each node's definition, by node."""
    counters: dict[str, Any]
    created: int
    shapes: dict[str, str] = {}
    """Hash of what each node's state depends on, by node: whether it still fits. Empty in older files."""


class Store(Protocol):
    """What a flow needs of its store. All calls are made on the event loop, and none blocks it.

    Every call raises :class:`JournalFull` or ``OSError`` when the disk does not do what it should; nothing of
    that call is then stored.
    """

    letters: Tally
    """The books of the dead letters."""
    on_letters: Callable[[Tally], None]
    """Called when the books have changed, with those before."""
    shared: bool
    """Whether another process may look into the store, and ask for dead letters to be replayed."""
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

    async def read_dead_letters(self, chosen: Selection = EVERY) -> list[Kept]:
        """Return the chosen dead letters."""

    async def want_dead_letters(self, numbers: Iterable[int]) -> None:
        """Ask for dead letters to be replayed, by number."""

    async def refuse_dead_letters(self, reasons: Iterable[tuple[int, str]]) -> None:
        """Take back, by number, that dead letters are to be replayed, and say why."""

    async def end_dead_letters(self, reason: str, keys: Iterable[tuple[bytes, int]]) -> int:
        """End dead letters for good, by key and flow clock; return how many there were."""

    async def keep_copy(self) -> Path | None:
        """Copy the checkpoints to beside them, for a person; return where to, if they are on a disk."""

    async def close(self) -> None:
        """Close the file after the calls made so far."""


class DiskStore:
    """A store in a SQLite file."""

    def __init__(self, path: Path | None, clock: Clock, caps: Caps = DEFAULT_CAPS) -> None:
        self.letters = Tally()
        self.on_letters: Callable[[Tally], None] = lambda _: None
        self.shared = path is not None
        self.damaged = 0
        self._clock = clock
        self._settled = 0
        self._file = StateFile(path, caps)
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
        position, clock, definitions, counters, created, *later = msgspec.msgpack.decode(saved.head)
        versions, shapes = (*later, {}, {})[:2]
        self._settled = clock
        states = dict(saved.states)
        return Checkpoint(position, clock, states, versions, definitions, counters, created, shapes)

    async def save(self, checkpoint: Checkpoint, dead_letters: Sequence[DeadLetter]) -> int:
        """Commit a checkpoint and the dead letters up to it; return what the journal may release."""
        contents = await self._write(checkpoint, dead_letters)
        self._ordinals.clear()
        self._settled = checkpoint.clock
        return contents.releasable

    async def add_dead_letters(self, dead_letters: Sequence[DeadLetter]) -> None:
        """Commit dead letters before their checkpoint is due."""
        await self._write(None, dead_letters)

    async def read_dead_letters(self, chosen: Selection = EVERY) -> list[Kept]:
        """Return the chosen dead letters."""
        return await self._call(partial(self._file.read_letters, chosen))

    async def want_dead_letters(self, numbers: Iterable[int]) -> None:
        """Ask for dead letters to be replayed, by number."""
        await self._use(lambda connection: letter_table.want(connection, numbers))

    async def refuse_dead_letters(self, reasons: Iterable[tuple[int, str]]) -> None:
        """Take back, by number, that dead letters are to be replayed, and say why."""
        await self._use(lambda connection: letter_table.refuse(connection, reasons))

    async def end_dead_letters(self, reason: str, keys: Iterable[tuple[bytes, int]]) -> int:
        """End dead letters for good, by key and flow clock; return how many there were."""
        return await self._use(lambda connection: letter_table.end(connection, reason, keys))

    async def keep_copy(self) -> Path | None:
        """Copy the file to beside it; return where to, if there is one."""
        return await self._call(self._file.keep_copy)

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
        letters = [pack(letter, ordinals) for letter in dead_letters]
        save = partial(self._file.save, saved, letters, now=self._clock.now(), settled=self._settled)
        contents = await self._call(save)
        self._ordinals = ordinals
        self._apply(contents)
        return contents

    async def _use[T](self, use: Callable[[sqlite3.Connection], T]) -> T:
        used, contents = await self._call(partial(self._file.with_letters, use))
        self._apply(contents)
        return used

    async def _call[T](self, function: Callable[[], T]) -> T:
        if self._worker is None:
            raise OSError("the store is closed")
        try:
            return await self._worker.call(function)
        except sqlite3.Error as error:
            raise database.as_disk_error(error) from error

    def _apply(self, contents: Contents) -> None:
        self.damaged = contents.damaged
        before, self.letters = self.letters, contents.letters
        if before != contents.letters:
            self.on_letters(before)


class MemoryStore(DiskStore):
    """A store for ``delivery: memory``: the same, and gone with the process."""

    def __init__(self, clock: Clock, caps: Caps = DEFAULT_CAPS) -> None:
        super().__init__(None, clock, caps)


def _pack(checkpoint: Checkpoint) -> Saved:
    head = [
        checkpoint.position,
        checkpoint.clock,
        checkpoint.definitions,
        checkpoint.counters,
        checkpoint.created,
        checkpoint.versions,
        checkpoint.shapes,
    ]
    return Saved(checkpoint.position, msgspec.msgpack.encode(head), checkpoint.states)
