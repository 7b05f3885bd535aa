"""The file beside a journal that holds checkpoints and dead letters. Used from one thread only.

A rollback journal instead of a write-ahead log: large states are then written once and not twice, and another
process may look into the file while the flow runs (see docs/decisions/0010-state-file-without-wal.md).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from zlib import crc32

import msgspec

from flowrunner.runtime import database

_FORMAT = 1
_KEPT = 2
_PURGE_STEP = 100
_TABLES = (
    "CREATE TABLE checkpoints (id INTEGER PRIMARY KEY AUTOINCREMENT, position INTEGER, crc INTEGER, head BLOB)",
    "CREATE TABLE states (checkpoint INTEGER, node TEXT, crc INTEGER, data BLOB, PRIMARY KEY (checkpoint, node))",
    """CREATE TABLE dead_letters (id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE,
    created INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL)""",
    f"PRAGMA user_version = {_FORMAT}",
)
_ADD_LETTER = """INSERT INTO dead_letters (key, created, crc, data) VALUES (?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET created = excluded.created, crc = excluded.crc, data = excluded.data"""


class Saved(msgspec.Struct, frozen=True):
    """A checkpoint as stored: an encoded head, and the states that the head was saved with."""

    position: int
    head: bytes
    states: Mapping[str, bytes]


class Letter(msgspec.Struct, frozen=True):
    """A dead letter as stored; two with one ``key`` are the same."""

    key: bytes
    created: int
    data: bytes


class Contents(msgspec.Struct, frozen=True):
    """What the file is like after a call."""

    releasable: int
    """Position of the oldest checkpoint that is kept as a fallback; 0 while there is only one."""
    letters: int
    letter_bytes: int
    purged: int
    """Dead letters deleted for want of room, since the file was opened."""
    damaged: int
    """Checkpoints, dead letters and files found unreadable, since the file was opened."""


class StateFile:
    """Checkpoints and dead letters of one flow; ``path`` is ``None`` for a flow that keeps all in memory."""

    def __init__(self, path: Path | None, *, max_letters: int, max_letter_bytes: int) -> None:
        self._path = path
        self._max_letters = max_letters
        self._max_letter_bytes = max_letter_bytes
        self._connection: sqlite3.Connection | None = None
        self._letters = self._letter_bytes = 0
        self._purged = self._damaged = 0

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

    def save(self, checkpoint: Saved | None, letters: Sequence[Letter]) -> Contents:
        """Commit a checkpoint and dead letters, all or nothing."""
        if self._path is not None and not self._path.exists():
            self.close()
        try:
            self._save(checkpoint, letters)
        except sqlite3.Error as error:
            if not database.is_damage(error):
                raise
            self._begin_anew()
            self._save(checkpoint, letters)
        return self.contents()

    def read_letters(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Return the numbers and contents of dead letters, oldest first; unreadable ones are left out."""
        query = "SELECT id, crc, data FROM dead_letters WHERE id > ? ORDER BY id LIMIT ?"
        rows = self._open().execute(query, (after, limit)).fetchall()
        return [(number, data) for number, crc, data in rows if crc32(data) == crc]

    def delete_letters(self, numbers: Iterable[int]) -> Contents:
        """Delete dead letters by number."""
        connection = self._open()
        with _transaction(connection):
            connection.executemany("DELETE FROM dead_letters WHERE id = ?", [(number,) for number in numbers])
        self._count_letters(connection)
        return self.contents()

    def contents(self) -> Contents:
        """Return what the file is like."""
        rows = self._open().execute("SELECT position FROM checkpoints ORDER BY id").fetchall()
        releasable = rows[0][0] if len(rows) >= _KEPT else 0
        return Contents(releasable, self._letters, self._letter_bytes, self._purged, self._damaged)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = self._connect()
            try:
                self._count_letters(connection)
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

    def _save(self, checkpoint: Saved | None, letters: Sequence[Letter]) -> None:
        connection = self._open()
        with _transaction(connection):
            if checkpoint is not None:
                self._add_checkpoint(connection, checkpoint)
            connection.executemany(
                _ADD_LETTER,
                [(letter.key, letter.created, crc32(letter.data), letter.data) for letter in letters],
            )
            purged = self._purge(connection) if letters else 0
        self._purged += purged

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

    def _count_letters(self, connection: sqlite3.Connection) -> None:
        query = "SELECT count(*), coalesce(sum(length(data)), 0) FROM dead_letters"
        self._letters, self._letter_bytes = connection.execute(query).fetchone()

    def _purge(self, connection: sqlite3.Connection) -> int:
        """Delete the oldest dead letters beyond the caps; return how many."""
        self._count_letters(connection)
        purged = 0
        while self._letters > self._max_letters or self._letter_bytes > self._max_letter_bytes:
            query = "SELECT id, length(data) FROM dead_letters ORDER BY id LIMIT ?"
            for number, size in connection.execute(query, (_PURGE_STEP,)).fetchall():
                if self._letters <= self._max_letters and self._letter_bytes <= self._max_letter_bytes:
                    break
                connection.execute("DELETE FROM dead_letters WHERE id = ?", (number,))
                self._letters -= 1
                self._letter_bytes -= size
                purged += 1
        return purged


def _crc(checkpoint: Saved) -> int:
    """Return a checksum over the head and over which states belong to it."""
    return crc32("\0".join(sorted(checkpoint.states)).encode(), crc32(checkpoint.head))


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.rollback()
        raise
