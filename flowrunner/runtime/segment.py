"""One file of a journal: a SQLite database of batches and source cursors, used from one thread only."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from zlib import crc32

import msgspec

from flowrunner.runtime import database

_FORMAT = 1
_PAGE = 8192
"""Bytes. Larger pages save CPU when batches are large, smaller ones save writing when they are small."""
_TABLES = (
    """CREATE TABLE batches (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, clock INTEGER NOT NULL,
    written INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL)""",
    "CREATE TABLE cursors (node TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    f"PRAGMA user_version = {_FORMAT}",
)
_INSERT = "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)"
_SET_CURSOR = "INSERT INTO cursors VALUES (?, ?) ON CONFLICT (node) DO UPDATE SET value = excluded.value"
_FROM = """SELECT first, last, clock, data, crc FROM batches
    WHERE first >= coalesce((SELECT max(first) FROM batches WHERE first <= ?), 0) AND first <= ? ORDER BY first"""


class Batch(msgspec.Struct, frozen=True, gc=False):
    """A row: the entries ``first`` to ``last``, encoded; ``clock`` is the flow clock of the last."""

    first: int
    last: int
    clock: int
    data: bytes


class Segment:
    """A file of batches, named after the sequence number of the first."""

    def __init__(self, path: Path, *, checkpoint_bytes: int) -> None:
        self.path = path
        self._name = str(path)
        self.first = int(path.stem.rpartition("-")[2])
        self.last = self.first - 1
        self.began = 0
        """Wall clock of the first commit, nanoseconds; 0 while there is none."""
        self.ended = 0
        """Wall clock of the last commit."""
        self.bytes = 0
        self._checkpoint_pages = max(checkpoint_bytes // _PAGE, 16)
        self._connection: sqlite3.Connection | None = None
        self._uncertain = False

    @staticmethod
    def path_of(directory: Path, first: int) -> Path:
        """Return the file name for a segment that begins with ``first``; names sort as numbers do."""
        return directory / f"journal-{first:016d}.db"

    @classmethod
    def create(cls, path: Path, cursors: Mapping[str, bytes], *, checkpoint_bytes: int) -> Segment:
        """Make the file for the batches that begin with the number in its name."""
        database.create(
            path, _TABLES, page_size=_PAGE, fill=lambda made: made.executemany(_SET_CURSOR, cursors.items())
        )
        return cls(path, checkpoint_bytes=checkpoint_bytes)

    def scan(self) -> None:
        """Learn what the file holds. Raises ``sqlite3.DatabaseError`` when it is damaged."""
        connection = self._open()
        oldest = connection.execute("SELECT first, written FROM batches ORDER BY first LIMIT 1").fetchone()
        if oldest is not None:
            self.first, self.began = oldest
            query = "SELECT first, last, length(data), written FROM batches ORDER BY first DESC LIMIT 1"
            first, last, size, self.ended = connection.execute(query).fetchone()
            # Without a look at the checksum: an entry takes more than a byte, so a broken ``last`` shows.
            self.last = last if first <= last < first + size else first
        self.measure()

    def cursors(self) -> dict[str, bytes]:
        """Return the encoded cursor of every source."""
        return dict(self._open().execute("SELECT node, value FROM cursors").fetchall())

    def insert(
        self, batches: Sequence[Batch], cursors: Mapping[str, bytes], now: int, known: Mapping[str, bytes]
    ) -> None:
        """Commit batches and cursors, all or nothing; ``known`` are the cursors committed before."""
        connection = self._open()
        try:
            connection.execute("BEGIN IMMEDIATE")
            if self._uncertain:
                self._undo(connection, known)
            connection.executemany(
                _INSERT,
                [
                    (batch.first, batch.last, batch.clock, now, _checksum(batch), batch.data)
                    for batch in batches
                ],
            )
            connection.executemany(_SET_CURSOR, cursors.items())
            connection.execute("COMMIT")
            self.measure()
        except BaseException:
            self._roll_back(connection)
            raise
        self._uncertain = False
        if batches:
            self.began = self.began or now
            self.last, self.ended = batches[-1].last, now

    def read(self, after: int, upto: int, max_entries: int, max_bytes: int) -> list[Batch]:
        """Return batches with entries ``after < seq <= upto``: at least one, if there are any.

        A batch whose checksum is wrong is left out.
        """
        found: list[Batch] = []
        entries = size = 0
        with contextlib.closing(self._open().execute(_FROM, (after + 1, upto))) as rows:
            for first, last, clock, data, crc in rows:
                batch = Batch(first, last, clock, data)
                if last <= after or _checksum(batch) != crc:
                    continue
                found.append(batch)
                entries += last - max(first, after + 1) + 1
                size += len(data)
                if entries >= max_entries or size >= max_bytes:
                    break
        return found

    def newest(self) -> tuple[int, int] | None:
        """Return the last entry whose batch can be read, and its flow clock."""
        query = "SELECT first, last, clock, data, crc FROM batches ORDER BY first DESC"
        with contextlib.closing(self._open().execute(query)) as rows:
            for first, last, clock, data, crc in rows:
                if _checksum(Batch(first, last, clock, data)) == crc:
                    return last, clock
        return None

    def clock_at(self, seq: int) -> int:
        """Return the flow clock of the batch that ``seq`` is in; 0 when there is none."""
        query = "SELECT clock FROM batches WHERE first <= ? ORDER BY first DESC LIMIT 1"
        row = self._open().execute(query, (seq,)).fetchone()
        return row[0] if row else 0

    def measure(self) -> None:
        """Learn how many bytes the file takes."""
        self.bytes = database.file_bytes(self._name)

    def close(self) -> None:
        """Close the file; SQLite then moves everything from the write-ahead log into it."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            if not self.path.exists():
                raise FileNotFoundError(2, "the journal file has disappeared", str(self.path))
            # Exclusive: one connection, no shared memory that a full disk could tear away.
            connection = database.connect(
                self.path,
                "locking_mode = EXCLUSIVE",
                "journal_mode = WAL",
                "synchronous = FULL",
                f"wal_autocheckpoint = {self._checkpoint_pages}",
                f"journal_size_limit = {self._checkpoint_pages * _PAGE}",
            )
            try:
                database.check_format(connection, self.path, _FORMAT)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        self._uncertain = True
        self._connection = None
        with contextlib.suppress(sqlite3.Error):
            connection.rollback()
        with contextlib.suppress(sqlite3.Error):
            connection.close()

    def _undo(self, connection: sqlite3.Connection, known: Mapping[str, bytes]) -> None:
        """Take back what a failed commit may have left in the write-ahead log after all."""
        connection.execute("DELETE FROM batches WHERE first > ?", (self.last,))
        connection.execute("DELETE FROM cursors")
        connection.executemany(_SET_CURSOR, known.items())


def _checksum(batch: Batch) -> int:
    return crc32(batch.data, crc32(b"%d %d %d" % (batch.first, batch.last, batch.clock)))
