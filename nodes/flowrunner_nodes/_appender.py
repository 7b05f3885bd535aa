"""Append lines to a file so that they are on the disk, with rotation and repair."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

_CHUNK = 64 * 1024
_OPERATOR = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.EISDIR,
        errno.ENOTDIR,
        errno.EEXIST,
        errno.ENAMETOOLONG,
        errno.ELOOP,
    }
)
"""Errors that do not go away by themselves."""


class AppendError(Exception):
    """The file does not take lines now. ``appended`` of them are safe; ``operator``: a person must act."""

    def __init__(self, reason: str, appended: int, *, operator: bool) -> None:
        super().__init__(reason)
        self.appended = appended
        self.operator = operator


class _WrongFileError(Exception):
    """What stands at the path is not a file of ours."""


class Appender:
    """A file that grows by whole lines. Opened for each batch, so that it may be moved away between any two."""

    def __init__(self, path: Path, *, header: bytes | None, max_bytes: int | None, keep: int) -> None:
        self._path = path
        self._header = header
        self._max_bytes = max_bytes
        self._keep = keep

    def append(self, lines: Sequence[bytes]) -> None:
        """Return when the lines, each with its end, are on the disk. Blocks; raises :class:`AppendError`."""
        done = 0
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            while done < len(lines):
                done += self._append_some(lines[done:])
        except _WrongFileError as error:
            raise AppendError(str(error), done, operator=True) from None
        except OSError as error:
            reason = f"cannot write {self._path}: {error.strerror}"
            raise AppendError(reason, done, operator=error.errno in _OPERATOR) from None

    def _append_some(self, lines: Sequence[bytes]) -> int:
        """Append what the present file has room for and return how many; rotate when that is none."""
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        try:
            size = self._repair(file)
            fitting = self._fitting(size, lines)
            if fitting:
                head = self._header if size == 0 and self._header else b""
                _write(file, head + b"".join(lines[:fitting]), size)
        finally:
            os.close(file)
        if size == 0 or not fitting:
            if not fitting:
                self._rotate()
            _sync_folder(self._path.parent)
        return fitting

    def _fitting(self, size: int, lines: Sequence[bytes]) -> int:
        """Return how many lines the file takes; a new file takes one, however long."""
        if self._max_bytes is None:
            return len(lines)
        count, size = 0, size or len(self._header or b"")
        started = size > len(self._header or b"")
        for line in lines:
            size += len(line)
            if size > self._max_bytes and (count or started):
                break
            count += 1
        return count

    def _repair(self, file: int) -> int:
        """Cut off a line that has no end, check the header, and return the size."""
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise _WrongFileError(f"{self._path} is not a regular file")
        size = _end_of_lines(file, status.st_size)
        if size < status.st_size:
            os.ftruncate(file, size)
        if size and self._header is not None and os.pread(file, len(self._header), 0) != self._header:
            raise _WrongFileError(
                f"{self._path} has other columns than `columns`: move it away or change the path"
            )
        return size

    def _rotate(self) -> None:
        for number in range(self._keep, 0, -1):
            older = self._path if number == 1 else self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _write(file: int, data: bytes, size: int) -> None:
    """Write and sync all of ``data``; on an error leave the file at ``size`` bytes, as it was."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(file, view) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, size)
        raise


def _end_of_lines(file: int, size: int) -> int:
    """Return where the last whole line ends."""
    end = size
    while end:
        start = max(0, end - _CHUNK)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _sync_folder(folder: Path) -> None:
    """Make a new name in a directory durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
