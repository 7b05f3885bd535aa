"""The tables of checkpoints in a state file: the newest, and the one before it in case that cannot be read."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from zlib import crc32

import msgspec

from flowrunner.runtime import database
from flowrunner.runtime.checkpoints.state import Chunks, converted

FORMAT = 2
"""Version of the file. Version 1 kept each state in one piece."""
KEPT = 2
_STATES = """CREATE TABLE states (checkpoint INTEGER, node TEXT, part INTEGER, crc INTEGER, data BLOB,
    PRIMARY KEY (checkpoint, node, part))"""
# The version stands twice, so that a flipped bit is not taken for a future version.
_VERSION = (f"PRAGMA user_version = {FORMAT}", f"PRAGMA application_id = {FORMAT}")
TABLES = (
    "CREATE TABLE checkpoints (id INTEGER PRIMARY KEY AUTOINCREMENT, position INTEGER, crc INTEGER, head BLOB)",
    _STATES,
    *_VERSION,
)
_ADD = "INSERT INTO checkpoints (position, crc, head) VALUES (?, ?, ?)"
_ADD_STATE = "INSERT INTO states VALUES (?, ?, ?, ?, ?)"


class Saved(msgspec.Struct, frozen=True):
    """A checkpoint as stored: an encoded head, and the states that the head was saved with."""

    position: int
    head: bytes
    states: Mapping[str, Chunks]


def convert(connection: sqlite3.Connection) -> None:
    """Bring a file of version 1 up to date."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != 1:
        return
    with database.transaction(connection):
        connection.execute("ALTER TABLE states RENAME TO states_1")
        connection.execute(_STATES)
        for number, position, crc, head in connection.execute("SELECT * FROM checkpoints").fetchall():
            query = "SELECT node, crc, data FROM states_1 WHERE checkpoint = ? ORDER BY node"
            rows = connection.execute(query, (number,)).fetchall()
            names = "\0".join(node for node, _, _ in rows)
            intact = crc32(names.encode(), crc32(head)) == crc
            if intact and all(crc32(data) == checksum for _, checksum, data in rows):
                saved = Saved(position, head, {node: (converted(data),) for node, _, data in rows})
                connection.execute("UPDATE checkpoints SET crc = ? WHERE id = ?", (_crc(saved), number))
                _add_states(connection, number, saved)
        connection.execute("DROP TABLE states_1")
        for statement in _VERSION:
            connection.execute(statement)


def add(connection: sqlite3.Connection, saved: Saved) -> None:
    """Add a checkpoint; the one before is kept, older ones are deleted."""
    number = connection.execute(_ADD, (saved.position, _crc(saved), saved.head)).lastrowid
    _add_states(connection, number, saved)
    kept = "SELECT id FROM checkpoints ORDER BY id DESC LIMIT ?"
    connection.execute(f"DELETE FROM checkpoints WHERE id NOT IN ({kept})", (KEPT,))  # noqa: S608  # our own words
    connection.execute("DELETE FROM states WHERE checkpoint NOT IN (SELECT id FROM checkpoints)")


def read(connection: sqlite3.Connection) -> tuple[list[Saved], int]:
    """Return the checkpoints that can be read, the oldest first, and how many cannot."""
    numbers = [number for (number,) in connection.execute("SELECT id FROM checkpoints ORDER BY id")]
    found = [_read(connection, number) for number in numbers]
    intact = [saved for saved in found if saved is not None]
    return intact, len(found) - len(intact)


def releasable(connection: sqlite3.Connection) -> int:
    """Return the position of the oldest checkpoint that is kept as a fallback; 0 while there is only one."""
    rows = connection.execute("SELECT position FROM checkpoints ORDER BY id").fetchall()
    return int(rows[0][0]) if len(rows) >= KEPT else 0


def rescue(damaged: sqlite3.Connection, connection: sqlite3.Connection, tables: tuple[str, ...]) -> None:
    """Copy what can be read of a damaged file: checkpoints, and the rows of other ``tables`` up to the damage."""
    with contextlib.suppress(sqlite3.DatabaseError):
        for saved in read(damaged)[0]:
            add(connection, saved)
    for table in tables:
        with contextlib.suppress(sqlite3.DatabaseError):
            rows = damaged.execute(f"SELECT * FROM {table}")  # noqa: S608  # our own words
            names = [column[0] for column in rows.description]
            into = f"{table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
            for row in rows:
                connection.execute(f"INSERT OR IGNORE INTO {into}", row)


def _add_states(connection: sqlite3.Connection, number: int | None, saved: Saved) -> None:
    for node, chunks in saved.states.items():
        rows = ((number, node, part, crc32(data), data) for part, data in enumerate(chunks))
        connection.executemany(_ADD_STATE, rows)


def _read(connection: sqlite3.Connection, number: int) -> Saved | None:
    try:
        position, crc, head = connection.execute(
            "SELECT position, crc, head FROM checkpoints WHERE id = ?", (number,)
        ).fetchone()
        query = "SELECT node, crc, data FROM states WHERE checkpoint = ? ORDER BY node, part"
        rows = connection.execute(query, (number,)).fetchall()
        states: dict[str, list[bytes]] = {}
        for node, checksum, data in rows:
            if crc32(data) != checksum:
                return None
            states.setdefault(node, []).append(data)
    except (sqlite3.DatabaseError, TypeError) as error:
        if isinstance(error, sqlite3.Error) and not database.is_damage(error):
            raise
        return None
    saved = Saved(position, head, {node: tuple(chunks) for node, chunks in states.items()})
    return saved if _crc(saved) == crc else None


def _crc(saved: Saved) -> int:
    """Return a checksum over the head and over which states belong to it, in how many parts."""
    parts = sorted(f"{node}/{len(chunks)}" for node, chunks in saved.states.items() if chunks)
    return crc32("\0".join(parts).encode(), crc32(saved.head))
