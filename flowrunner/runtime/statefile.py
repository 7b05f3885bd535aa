"""The file beside a journal that holds checkpoints and dead letters. Used from one thread only.

A rollback journal instead of a write-ahead log: large states are then written once and not twice, and another
process may look into the file while the flow runs (see docs/decisions/0010-state-file-without-wal.md).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from zlib import crc32

import msgspec

from flowrunner.runtime import database, letter_table
from flowrunner.runtime.dead_letters import Letter
from flowrunner.runtime.letter_table import Caps, Kept, Selection, Tally

_FORMAT = 1
_KEPT = 2
_TABLES = (
    "CREATE TABLE checkpoints (id INTEGER PRIMARY KEY AUTOINCREMENT, position INTEGER, crc INTEGER, head BLOB)",
    "CREATE TABLE states (checkpoint INTEGER, node TEXT, crc INTEGER, data BLOB, PRIMARY KEY (checkpoint, node))",
    *letter_table.TABLES,
    f"PRAGMA user_version = {_FORMAT}",
)


class Saved(msgspec.Struct, frozen=True):
    """A checkpoint as stored: an encoded head, and the states that the head was saved with."""

    position: int
    head: bytes
    states: Mapping[str, bytes]


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
        """Return the newest checkpoint that can be read; those that cannot are counted and deleted."""
        connection = self._open()
        try:
            rows = connection.execute("SELECT id FROM checkpoints ORDER BY id DESC").fetchall()
            for (number,) in rows:
                saved = self._read_checkpoint(connection, number)
                if saved is not None:
                    return saved
                self._damaged += 1
                self._delete_checkpoints(connection, "id = ?", number)
        except sqlite3.Error as error:
            if not database.is_damage(error):
                raise
            self._begin_anew()
        return None

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
        rows = self._open().execute("SELECT position FROM checkpoints ORDER BY id").fetchall()
        releasable = rows[0][0] if len(rows) >= _KEPT else 0
        return Contents(releasable, self._letters, self._damaged)

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
            database.check_format(connection, self._path, _FORMAT)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_anew(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.close()
        if self._path is not None and self._path.exists():
            database.set_aside(self._path)
        self._damaged += 1
        self._open()

    def _save(self, checkpoint: Saved | None, letters: Sequence[Letter], now: int, settled: int) -> None:
        connection = self._open()
        with database.transaction(connection):
            if checkpoint is not None:
                self._add_checkpoint(connection, checkpoint)
                letter_table.forget_gone(connection, settled)
            letter_table.add(connection, letters)
            letter_table.trim(connection, self._caps, now)
        self._letters = letter_table.tally(connection)

    def _add_checkpoint(self, connection: sqlite3.Connection, checkpoint: Saved) -> None:
        added = connection.execute(
            "INSERT INTO checkpoints (position, crc, head) VALUES (?, ?, ?)",
            (checkpoint.position, _crc(checkpoint), checkpoint.head),
        ).lastrowid
        connection.executemany(
            "INSERT INTO states VALUES (?, ?, ?, ?)",
            [(added, node, crc32(data), data) for node, data in checkpoint.states.items()],
        )
        kept = "SELECT id FROM checkpoints ORDER BY id DESC LIMIT ?"
        self._delete_checkpoints(connection, f"id NOT IN ({kept})", _KEPT)

    def _delete_checkpoints(self, connection: sqlite3.Connection, which: str, value: int) -> None:
        connection.execute(f"DELETE FROM checkpoints WHERE {which}", (value,))  # noqa: S608  # our own words
        connection.execute("DELETE FROM states WHERE checkpoint NOT IN (SELECT id FROM checkpoints)")

    def _read_checkpoint(self, connection: sqlite3.Connection, number: int) -> Saved | None:
        try:
            position, crc, head = connection.execute(
                "SELECT position, crc, head FROM checkpoints WHERE id = ?", (number,)
            ).fetchone()
            rows = connection.execute(
                "SELECT node, crc, data FROM states WHERE checkpoint = ?", (number,)
            ).fetchall()
        except sqlite3.Error as error:
            if not database.is_damage(error):
                raise
            return None
        saved = Saved(position, head, {node: data for node, _, data in rows})
        intact = all(crc32(data) == crc for _, crc, data in rows) and _crc(saved) == crc
        return saved if intact else None


def _crc(checkpoint: Saved) -> int:
    """Return a checksum over the head and over which states belong to it."""
    return crc32("\0".join(sorted(checkpoint.states)).encode(), crc32(checkpoint.head))
