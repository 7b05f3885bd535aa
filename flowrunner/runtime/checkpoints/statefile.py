"""The file beside a journal that holds checkpoints and dead letters. Used from one thread only.

A rollback journal instead of a write-ahead log: large states are then written once and not twice, and another
process may look into the file while the flow runs (see docs/decisions/0010-state-file-without-wal.md).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from flowrunner.runtime import database
from flowrunner.runtime.checkpoints import table as checkpoint_table
from flowrunner.runtime.checkpoints.table import Saved
from flowrunner.runtime.letters import table as letter_table
from flowrunner.runtime.letters.letter import Letter
from flowrunner.runtime.letters.table import Caps, Kept, Selection, Tally

REFUSED = ".refused"
"""The suffix of the copy of a file that has a state which a node refused."""
_TABLES = (*checkpoint_table.TABLES, *letter_table.TABLES)
_LETTERS = ("dead_letters", "dead_letters_gone", "dead_letters_ended")


class Contents(msgspec.Struct, frozen=True):
    """What the file is like after a call."""

    releasable: int
    """Position of the oldest checkpoint that is kept as a fallback; 0 while there is only one."""
    letters: Tally
    damaged: int
    """Checkpoints and files found unreadable, since the file was opened."""


class StateFile:
    """Checkpoints and dead letters of one flow; ``path`` is ``None`` for a flow that keeps all in memory."""

    def __init__(self, path: Path | None, caps: Caps) -> None:
        self._path = path
        self._caps = caps
        self._connection: sqlite3.Connection | None = None
        self._letters = Tally()
        self._damaged = 0

    def open(self) -> Contents:
        """Open the file; one that cannot be read is set aside and begun anew."""
        try:
            self._open()
        except sqlite3.Error as error:
            if not database.is_damage(error):
                raise
            self._begin_anew()
        return self.contents()

    def load(self) -> Saved | None:
        """Return the newest checkpoint that can be read; when one cannot, the file is set aside and begun anew."""
        try:
            found, unreadable = checkpoint_table.read(self._open())
        except sqlite3.Error as error:
            if not database.is_damage(error):
                raise
            found, unreadable = [], 1
        if unreadable:
            self._begin_anew()
            found, _ = checkpoint_table.read(self._open())
        return found[-1] if found else None

    def keep_copy(self) -> Path | None:
        """Copy the file as it is to beside it, in place of an earlier copy; return where to, if there is a file."""
        if self._path is None:
            return None
        copy = self._path.with_name(self._path.name + REFUSED)
        unfinished = copy.with_suffix(database.UNFINISHED)
        database.remove(unfinished)
        self._open().execute("VACUUM INTO ?", (str(unfinished),))
        unfinished.replace(copy)
        database.sync_directory(copy.parent)
        return copy

    def save(
        self, checkpoint: Saved | None, letters: Sequence[Letter], *, now: int, settled: int = 0
    ) -> Contents:
        """Commit a checkpoint and dead letters, all or nothing.

        No checkpoint that is kept then goes back to before the flow clock ``settled``.
        """
        if self._path is not None and not self._path.exists():
            self.close()
        try:
            self._save(checkpoint, letters, now, settled)
        except sqlite3.Error as error:
            if not database.is_damage(error):
                raise
            self._begin_anew()
            self._save(checkpoint, letters, now, settled)
        return self.contents()

    def read_letters(self, chosen: Selection) -> list[Kept]:
        """Return dead letters."""
        return letter_table.select(self._open(), chosen)

    def with_letters[T](self, use: Callable[[sqlite3.Connection], T]) -> tuple[T, Contents]:
        """Return what ``use`` returns of the table of dead letters, read and written in one transaction."""
        connection = self._open()
        with database.transaction(connection):
            used = use(connection)
        self._letters = letter_table.tally(connection)
        return used, self.contents()

    def contents(self) -> Contents:
        """Return what the file is like."""
        return Contents(checkpoint_table.releasable(self._open()), self._letters, self._damaged)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = self._connect()
            try:
                letter_table.prepare(connection)
                self._letters = letter_table.tally(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        if self._path is None:
            connection = sqlite3.connect(":memory:", isolation_level=None)
            for statement in _TABLES:
                connection.execute(statement)
            return connection
        if not self._path.exists():
            database.create(self._path, _TABLES)
        connection = database.connect(self._path, "journal_mode = TRUNCATE", "synchronous = FULL")
        try:
            checkpoint_table.convert(connection)
            database.check_format(connection, self._path, checkpoint_table.FORMAT)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_anew(self) -> None:
        """Set the file aside and go on with a new one, which gets what can be read of the old one."""
        self._damaged += 1
        with contextlib.suppress(sqlite3.Error):
            self.close()
        if self._path is None or not self._path.exists():
            self._open()
            return
        aside = database.set_aside(self._path)
        connection = self._open()
        with (
            contextlib.suppress(sqlite3.DatabaseError),
            contextlib.closing(database.connect(aside)) as damaged,
            database.transaction(connection),
        ):
            checkpoint_table.rescue(damaged, connection, _LETTERS)
        self._letters = letter_table.tally(connection)

    def _save(self, checkpoint: Saved | None, letters: Sequence[Letter], now: int, settled: int) -> None:
        connection = self._open()
        with database.transaction(connection):
            if checkpoint is not None:
                checkpoint_table.add(connection, checkpoint)
                letter_table.forget_gone(connection, settled)
            letter_table.add(connection, letters)
            letter_table.trim(connection, self._caps, now)
        self._letters = letter_table.tally(connection)
