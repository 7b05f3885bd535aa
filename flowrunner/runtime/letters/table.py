"""The table of dead letters in a state file: what is kept, for how long, and what became of the rest.

Used on the connection of whoever has the file open: the flow that writes it, or a command that looks into it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from zlib import crc32

import msgspec

from flowrunner.message import NANOSECONDS
from flowrunner.runtime import database
from flowrunner.runtime.letters.letter import DeadLetter, Letter, unpack

CAPS = frozenset({"max_count", "max_bytes", "retention"})
"""The reasons for which letters are ended by themselves."""
_STEP = 100
_COLUMNS = {
    "node": "TEXT NOT NULL DEFAULT ''",
    "reason": "TEXT NOT NULL DEFAULT ''",
    "size": "INTEGER NOT NULL DEFAULT 0",
    "wanted": "INTEGER NOT NULL DEFAULT 0",
    "refused": "TEXT",
}
TABLES = (
    """CREATE TABLE IF NOT EXISTS dead_letters (id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE,
    created INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL)""",
    # The keys of letters that were replayed or purged, until no checkpoint is left from which they could be made again.
    "CREATE TABLE IF NOT EXISTS dead_letters_gone (key BLOB PRIMARY KEY, clock INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS dead_letters_ended (node TEXT, reason TEXT, count INTEGER NOT NULL,
    PRIMARY KEY (node, reason)) WITHOUT ROWID""",
)
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS dead_letters_by_time ON dead_letters (created)",
    "CREATE INDEX IF NOT EXISTS dead_letters_wanted ON dead_letters (id) WHERE wanted = 1",
    "CREATE INDEX IF NOT EXISTS dead_letters_of_node ON dead_letters (node, size)",
)
_ADD = """INSERT INTO dead_letters (key, node, reason, size, created, crc, data)
    SELECT * FROM (SELECT ? AS key, ?, ?, ?, ?, ?, ?) WHERE key NOT IN (SELECT key FROM dead_letters_gone)
    ON CONFLICT (key) DO UPDATE
    SET reason = excluded.reason, created = excluded.created, size = excluded.size, crc = excluded.crc,
    data = excluded.data"""


class Caps(msgspec.Struct, frozen=True):
    """How much is kept of the dead letters of one flow; ``retention`` is in nanoseconds."""

    letters: int = 100_000
    bytes: int = 64 * 2**20
    retention: int = 30 * 86_400 * NANOSECONDS


class Selection(msgspec.Struct, frozen=True):
    """Which letters are meant: those that all conditions hold for, the oldest or newest ``limit`` of them."""

    numbers: Sequence[int] | None = None
    node: str | None = None
    reason: str | None = None
    """A part of the reason."""
    since: int | None = None
    after: int = 0
    before: int | None = None
    """Letters with numbers between these only."""
    wanted: bool = False
    """Only those that are to be replayed."""
    newest: bool = False
    limit: int = 100


class Kept(msgspec.Struct, frozen=True):
    """A letter in the store."""

    number: int
    key: bytes
    letter: DeadLetter
    wanted: bool = False
    """Whether it is to be replayed."""
    refused: str | None = None
    """Why it was not replayed when that was asked for."""


class Tally(msgspec.Struct):
    """The books of the store: dead-lettered = kept + ended, by node."""

    kept: dict[str, int] = {}
    bytes: int = 0
    """What the letters that are kept take."""
    ended: dict[tuple[str, str], int] = {}
    """What became of the others, by node and reason: ``replayed``, ``purged``, or the cap they had to give way to."""

    @property
    def count(self) -> int:
        """How many letters are kept."""
        return sum(self.kept.values())

    def dropped(self) -> dict[tuple[str, str], int]:
        """Return how many had to give way, by node and cap."""
        return {key: count for key, count in self.ended.items() if key[1] in CAPS}


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables, and bring those of an older version up to date."""
    if _columns(connection) >= _COLUMNS.keys() | {"key"} and _has_index(connection):
        return
    with database.transaction(connection):
        for statement in TABLES:
            connection.execute(statement)
        for name in sorted(_COLUMNS.keys() - _columns(connection)):
            connection.execute(f"ALTER TABLE dead_letters ADD COLUMN {name} {_COLUMNS[name]}")
        _fill(connection)
        for statement in _INDEXES:
            connection.execute(statement)


def tally(connection: sqlite3.Connection) -> Tally:
    """Return the books."""
    rows = connection.execute("SELECT node, count(*), sum(size) FROM dead_letters GROUP BY node").fetchall()
    ended = connection.execute("SELECT node, reason, count FROM dead_letters_ended").fetchall()
    return Tally(
        kept={node: count for node, count, _ in rows},
        bytes=sum(size for _, _, size in rows),
        ended={(node, reason): count for node, reason, count in ended},
    )


def add(connection: sqlite3.Connection, letters: Iterable[Letter]) -> None:
    """Store letters; those that are there already are only brought up to date, and what is gone stays gone."""
    connection.executemany(
        _ADD,
        [
            (one.key, one.node, one.reason, len(one.data), one.created, crc32(one.data), one.data)
            for one in letters
        ],
    )


def trim(connection: sqlite3.Connection, caps: Caps, now: int) -> None:
    """Delete the oldest letters beyond the caps, and count them."""
    _end_where(connection, "retention", "created < ?", now - caps.retention)
    (count, size) = connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM dead_letters").fetchone()
    if count > caps.letters:
        oldest = "id IN (SELECT id FROM dead_letters ORDER BY id LIMIT ?)"
        _end_where(connection, "max_count", oldest, count - caps.letters)
        (size,) = connection.execute("SELECT coalesce(sum(size), 0) FROM dead_letters").fetchone()
    if size > caps.bytes:
        _end_where(connection, "max_bytes", "id <= ?", _last_beyond(connection, size - caps.bytes))


def forget_gone(connection: sqlite3.Connection, clock: int) -> None:
    """Forget the letters that no checkpoint can make again: the oldest of them is of ``clock``."""
    connection.execute("DELETE FROM dead_letters_gone WHERE clock < ?", (clock,))


def select(connection: sqlite3.Connection, chosen: Selection) -> list[Kept]:
    """Return letters, unreadable ones left out."""
    where, values = _conditions(chosen)
    order = "DESC" if chosen.newest else "ASC"
    rows = connection.execute(
        f"SELECT id, key, crc, data, wanted, refused FROM dead_letters WHERE {where} ORDER BY id {order} LIMIT ?",  # noqa: S608
        (*values, chosen.limit),
    ).fetchall()
    return [
        Kept(number, key, unpack(data), bool(wanted), refused)
        for number, key, crc, data, wanted, refused in rows
        if crc32(data) == crc
    ]


def want(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Ask for letters to be replayed."""
    connection.executemany(
        "UPDATE dead_letters SET wanted = 1, refused = NULL WHERE id = ?", [(number,) for number in numbers]
    )


def refuse(connection: sqlite3.Connection, reasons: Iterable[tuple[int, str]]) -> None:
    """Take back that letters are to be replayed, and say why."""
    connection.executemany(
        "UPDATE dead_letters SET wanted = 0, refused = ? WHERE id = ?",
        [(why, number) for number, why in reasons],
    )


def end(connection: sqlite3.Connection, reason: str, keys: Iterable[tuple[bytes, int]]) -> int:
    """End letters, given by key and clock, for good: they are not stored again. Returns how many there were."""
    ended = 0
    for key, clock in keys:
        count = _end_where(connection, reason, "key = ?", key)
        if count:
            connection.execute("INSERT OR IGNORE INTO dead_letters_gone VALUES (?, ?)", (key, clock))
        ended += count
    return ended


def _conditions(chosen: Selection) -> tuple[str, list[object]]:
    conditions, values = ["id > ?"], [chosen.after]  # type: tuple[list[str], list[object]]
    if chosen.numbers is not None:
        conditions.append(f"id IN ({', '.join('?' * len(chosen.numbers))})")
        values += chosen.numbers
    for condition, value in (
        ("id < ?", chosen.before),
        ("node = ?", chosen.node),
        ("instr(reason, ?) > 0", chosen.reason),
        ("created >= ?", chosen.since),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if chosen.wanted:
        conditions.append("wanted = 1")
    return " AND ".join(conditions), values


def _end_where(connection: sqlite3.Connection, reason: str, which: str, value: object) -> int:
    """Delete letters and count them as ended."""
    connection.execute(
        f"""INSERT INTO dead_letters_ended SELECT node, ?, count(*) FROM dead_letters WHERE {which} GROUP BY node
        ON CONFLICT (node, reason) DO UPDATE SET count = count + excluded.count""",  # noqa: S608
        (reason, value),
    )
    return connection.execute(f"DELETE FROM dead_letters WHERE {which}", (value,)).rowcount  # noqa: S608


def _last_beyond(connection: sqlite3.Connection, surplus: int) -> int:
    """Return the number of the letter up to which the oldest have to go to free ``surplus`` bytes."""
    last = 0
    for number, size in connection.execute("SELECT id, size FROM dead_letters ORDER BY id"):
        last = number
        surplus -= size
        if surplus <= 0:
            break
    return last


def _columns(connection: sqlite3.Connection) -> set[str]:
    return {row[1] for row in connection.execute("PRAGMA table_info(dead_letters)")}


def _has_index(connection: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE name = 'dead_letters_of_node'"
    return connection.execute(query).fetchone() is not None


def _fill(connection: sqlite3.Connection) -> None:
    """Fill the columns that an older version did not have."""
    after = 0
    while rows := connection.execute(
        "SELECT id, data FROM dead_letters WHERE node = '' AND id > ? ORDER BY id LIMIT ?", (after, _STEP)
    ).fetchall():
        after = rows[-1][0]
        for number, data in rows:
            try:
                letter = unpack(data)
            except msgspec.DecodeError:
                continue
            connection.execute(
                "UPDATE dead_letters SET node = ?, reason = ?, size = ? WHERE id = ?",
                (letter.node, letter.reason, len(data), number),
            )
