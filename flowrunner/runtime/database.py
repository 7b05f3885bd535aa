"""SQLite as the engine uses it: how files are opened, which errors mean damage, which a full disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from flowrunner.errors import FlowrunnerError, JournalFull

_SURROUNDINGS = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOLFS,
    }
)
"""Errors that say nothing about what is in the file. All others do: we only use statements that work."""
ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What reading a file may raise: SQLite quotes damaged text in its messages, which are then no text either."""
UNFINISHED = ".new"
"""The suffix of a file that is being made."""
SET_ASIDE = ".corrupt"
"""The suffix of a file that was found damaged."""
KEPT_ASIDE = 4
"""How many damaged files a directory keeps."""
_COMPANIONS = ("-wal", "-journal", "-shm")


def connect(path: Path, *pragmas: str) -> sqlite3.Connection:
    """Open a database in autocommit mode; the file is made when it is missing."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    try:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def create(
    path: Path,
    statements: Iterable[str],
    *,
    page_size: int = 4096,
    fill: Callable[[sqlite3.Connection], object] | None = None,
) -> None:
    """Make a database in one transaction, under another name first: a file is never found half made."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = path.with_suffix(UNFINISHED)
    remove(unfinished)
    with contextlib.closing(
        connect(unfinished, "synchronous = FULL", f"page_size = {page_size}")
    ) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        if fill is not None:
            fill(connection)
        connection.execute("COMMIT")
    unfinished.rename(path)
    sync_directory(path.parent)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what is done inside, all or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.rollback()
        raise


def check_format(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Raise when the file is of another format: damaged, or written by a newer flowrunner.

    A file with an ``application_id`` has its version there as well, so that a flipped bit is not taken for a future.
    """
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    (again,) = connection.execute("PRAGMA application_id").fetchone()
    if found > version and again in (0, found):
        raise FlowrunnerError(
            f"{path} was written by a newer flowrunner (format {found}, this one reads {version})"
        )
    if found != version:
        raise Damaged(f"{path} has no tables of format {version}")


class Damaged(sqlite3.DatabaseError):
    """A file that SQLite can open but that lacks what was committed to it."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def is_damage(error: BaseException) -> bool:
    """Return whether the file itself is broken, as opposed to a disk that is full, slow or read-only."""
    if isinstance(error, UnicodeDecodeError):
        return True
    if not isinstance(error, sqlite3.DatabaseError) or isinstance(error, sqlite3.ProgrammingError):
        return False
    # Without a code it is the module's own: text that is no text.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in _SURROUNDINGS


def is_read_only(error: BaseException) -> bool:
    """Return whether SQLite refuses to write: the file says so, or the file system."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY


def is_full(error: BaseException) -> bool:
    """Return whether the disk, a quota or a file size limit leaves no room."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def as_disk_error(error: BaseException) -> BaseException:
    """Return what callers get for an error of SQLite or the disk: ``JournalFull`` or an ``OSError``."""
    if is_full(error):
        return JournalFull(f"the disk is full: {error}")
    return OSError(errno.EIO, str(error)) if isinstance(error, sqlite3.Error) else error


def file_bytes(path: str) -> int:
    """Return the bytes that a database and its write-ahead log take. Raises when the database is missing."""
    total = os.stat(path).st_size  # noqa: PTH116  # called at every commit, and Path costs ten times as much
    try:
        return total + os.stat(path + "-wal").st_size  # noqa: PTH116
    except FileNotFoundError:
        return total


def remove(path: Path) -> None:
    """Delete a database and its companion files, and directories that stand in their places."""
    for suffix in ("", *_COMPANIONS):
        place = Path(f"{path}{suffix}")
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)


def is_file(path: Path) -> bool:
    """Return whether a database and its write-ahead log are files, if they exist: not directories or pipes."""
    log = Path(f"{path}-wal")
    return path.is_file() and (log.is_file() or not os.path.lexists(log))


def set_aside(path: Path) -> Path:
    """Rename a damaged database and its companions so that nothing reads them again but a person.

    Of those in the directory the newest few are kept. Whatever stands in the place of a file is moved as well.
    """
    target = Path(f"{path}{SET_ASIDE}")
    number = 1
    while os.path.lexists(target):
        number += 1
        target = Path(f"{path}.{number}{SET_ASIDE}")
    for suffix in (*_COMPANIONS, ""):
        source = Path(f"{path}{suffix}")
        if os.path.lexists(source):
            source.rename(f"{target}{suffix}")
    return target


def drop_set_aside(directory: Path) -> list[Path]:
    """Delete the oldest of the files that were set aside, beyond a few; return which."""
    found = sorted(directory.glob(f"*{SET_ASIDE}"), key=lambda path: (path.lstat().st_ctime_ns, path.name))
    dropped = found[:-KEPT_ASIDE]
    for path in dropped:
        remove(path)
    return dropped


def lock(directory: Path) -> int:
    """Take a directory for this process; return the descriptor that holds it until it is closed."""
    held = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise FlowrunnerError(f"the journal {directory} is in use by another process") from None
    return held


def sync_directory(path: Path) -> None:
    """Make renames inside a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
