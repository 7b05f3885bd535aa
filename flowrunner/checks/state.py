"""The state directory: whether it can be written, has room, stands on a disk that keeps locks, and is not damaged."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from flowrunner.context import Finding
from flowrunner.options import format_size
from flowrunner.runtime.database import SET_ASIDE

_SECONDS = 10.0
"""The longest that databases are read through."""
_STEPS = 100_000
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "glusterfs", "ceph"})
_PASSING = frozenset({"tmpfs", "ramfs", "overlay"})
MOUNTS = Path("/proc/self/mounts")


def check_state(directory: Path, journal_max_bytes: int, mounts: Path = MOUNTS) -> Iterable[Finding]:
    """Return what is to be said of a state directory; it is made when it is not there, as `run` would."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=directory):
            yield Finding("ok", "directory", f"{directory} can be written")
    except OSError as error:
        text = f"{directory} cannot be written: {error.strerror or error}"
        yield Finding(
            "error", "directory", text, "mount it writable, give it to this user, or set FLOWRUNNER_STATE_DIR"
        )
        return
    yield _space(directory, journal_max_bytes)
    yield _file_system(directory, mounts)
    running = _is_locked(directory / "lock")
    text = "a flowrunner runs on it" if running else "free: no flowrunner runs on it"
    yield Finding("ok", "lock", text)
    yield _set_aside(directory)
    if not running:  # it reads its files itself, and has them locked
        yield from _databases(directory)


def _space(directory: Path, journal_max_bytes: int) -> Finding:
    free = shutil.disk_usage(directory).free
    text = f"{free / 2**30:.1f} GiB free; the journal of one flow may take {format_size(journal_max_bytes)}"
    if free < journal_max_bytes:
        return Finding("warning", "space", text, "make room, or lower FLOWRUNNER_JOURNAL_MAX_BYTES")
    return Finding("ok", "space", text)


def _file_system(directory: Path, mounts: Path) -> Finding:
    kind = _kind(directory.resolve(), mounts)
    if kind in _NETWORK:
        help = "use a local disk: over a network locks and syncs do not hold what SQLite needs of them"
        return Finding("error", "file system", f"{kind}, over a network", help)
    if kind in _PASSING:
        help = "mount a volume: what is here is gone with the container or at a restart of the machine"
        return Finding("warning", "file system", kind, help)
    return Finding("ok", "file system", kind)


def _kind(directory: Path, mounts: Path) -> str:
    """Return the type of the file system that a directory is on."""
    best, kind = -1, "unknown"
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return kind
    for line in lines:
        _, place, type, *_ = line.split(" ")
        point = Path(place.replace("\\040", " "))
        if directory.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), type
    return kind


def _is_locked(file: Path) -> bool:
    """Return whether a process holds a lock; a file that one has left behind holds nothing."""
    try:
        with file.open("r") as opened:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _set_aside(directory: Path) -> Finding:
    found = sorted(directory.rglob(f"*{SET_ASIDE}"))
    if not found:
        return Finding("ok", "damage", "no file was set aside")
    names = ", ".join(str(path.relative_to(directory)) for path in found[:3])
    help = "check the disk; delete them when nothing is to be rescued from them"
    return Finding("warning", "damage", f"{len(found)} damaged files were set aside: {names}", help)


def _databases(directory: Path) -> Iterator[Finding]:
    until, checked = time.monotonic() + _SECONDS, 0
    for path in sorted(directory.rglob("*.db")):
        if time.monotonic() > until:
            yield Finding("ok", "databases", f"{checked} whole; the others were not read for lack of time")
            return
        problem = _problem(path, until)
        if problem is not None:
            help = "flowrunner sets it aside at the next start and goes on with what is whole; check the disk"
            yield Finding("error", f"file {path.relative_to(directory)}", problem, help)
        checked += 1
    yield Finding("ok", "databases", f"{checked} read through")


def _problem(path: Path, until: float) -> str | None:
    """Return what is wrong with a database, ``None`` for nothing, or if it cannot be told in time."""
    connection = sqlite3.connect(path.resolve().as_uri() + "?mode=ro", uri=True, timeout=0.5)
    try:
        connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        return None if found == "ok" else str(found)
    except sqlite3.OperationalError as error:
        return None if "interrupted" in str(error) or "locked" in str(error) else str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    finally:
        connection.close()
