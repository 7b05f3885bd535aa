"""One file of a journal: a SQLite database of batches and source cursors, used from one thread only."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
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
    f"PRAGMA application_id = {_FORMAT}",
)
_INSERT = "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)"
_SET_CURSOR = "INSERT INTO cursors VALUES (?, ?) ON CONFLICT (node) DO UPDATE SET value = excluded.value"
_FROM = """SELECT first, last, clock, data, crc FROM batches
    WHERE first >= coalesce((SELECT max(first) FROM batches WHERE first <= ?), 0) AND first <= ? ORDER BY first"""


_CHECKED = b"\xc1"
"""What a cursor with a checksum begins with: no msgpack value does, so one from before there were any is known."""


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
        self.clock = 0
        """Flow clock of the newest batch that could be read when the file was scanned; 0 when there was none."""
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
            path, _TABLES, page_size=_PAGE, fill=lambda made: made.executemany(_SET_CURSOR, _packed(cursors))
        )
        return cls(path, checkpoint_bytes=checkpoint_bytes)

    def scan(self, upto: int) -> None:
        """Learn what the file holds of the entries up to ``upto``. Raises ``sqlite3.Error`` when it is damaged."""
        connection = self._open()
        oldest = connection.execute("SELECT written FROM batches ORDER BY first LIMIT 1").fetchone()
        if oldest is not None:
            newest = connection.execute("SELECT written FROM batches ORDER BY first DESC LIMIT 1").fetchone()
            self.began, self.ended = _number(oldest), _number(newest)
            self._find_last(connection, upto)
        # A row at the end that cannot be read must not be in the way of those to come.
        self._uncertain = True

    def cursors(self) -> dict[str, bytes]:
        """Return the encoded cursor of every source; those that are damaged are left out."""
        rows = self._open().execute("SELECT node, value FROM cursors").fetchall()
        return {node: cursor for node, value in rows if (cursor := _unpack(node, value)) is not None}

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
            connection.executemany(_SET_CURSOR, _packed(cursors))
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
            for row in rows:
                batch = _intact(row)
                if batch is None or batch.last <= after or batch.last > upto:
                    continue
                found.append(batch)
                entries += batch.last - max(batch.first, after + 1) + 1
                size += len(batch.data)
                after = batch.last
                if entries >= max_entries or size >= max_bytes:
                    break
        return found

    def clock_at(self, seq: int) -> int:
        """Return the flow clock of the batch that ``seq`` is in; 0 when there is none."""
        query = "SELECT clock FROM batches WHERE first <= ? ORDER BY first DESC LIMIT 1"
        row = self._open().execute(query, (seq,)).fetchone()
        return _number(row)

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

    def _find_last(self, connection: sqlite3.Connection, upto: int) -> None:
        query = "SELECT first, last, clock, data, crc FROM batches ORDER BY first DESC"
        with contextlib.closing(connection.execute(query)) as rows:
            for row in rows:
                batch = _intact(row)
                if batch is not None and batch.last <= upto:
                    self.last, self.clock = batch.last, batch.clock
                    return

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
        connection.executemany(_SET_CURSOR, _packed(known))
        # It writes a page in any case: what a commit of nothing would not do, and so not meet a full disk.
        connection.execute(f"PRAGMA user_version = {_FORMAT}")


def _checksum(batch: Batch) -> int:
    return crc32(batch.data, crc32(b"%d %d %d" % (batch.first, batch.last, batch.clock)))


def _intact(row: tuple[Any, ...]) -> Batch | None:
    """Return the batch of a row of ``first, last, clock, data, crc``; ``None`` when it is not what was written."""
    first, last, clock, data, crc = row
    if type(data) is not bytes or any(type(number) is not int for number in (first, last, clock)):
        return None
    batch = Batch(first, last, clock, data)
    return batch if _checksum(batch) == crc else None


def _number(row: tuple[Any, ...] | None) -> int:
    """Return the value of a row that no checksum covers; 0 when it is no number any more."""
    return row[0] if row is not None and type(row[0]) is int else 0


def _packed(cursors: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    for node, cursor in cursors.items():
        yield node, _CHECKED + crc32(cursor, crc32(node.encode())).to_bytes(4, "big") + cursor


def _unpack(node: Any, value: Any) -> bytes | None:
    if type(node) is not str or type(value) is not bytes:
        return None
    if value[:1] == _CHECKED:
        cursor = value[5:]
        return cursor if next(_packed({node: cursor}))[1] == value else None
    try:
        msgspec.msgpack.decode(value)
    except msgspec.DecodeError:
        return None
    return value
