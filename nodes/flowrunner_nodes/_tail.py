"""Read a file line by line from where one left off, across renaming, replacement and truncation."""

from __future__ import annotations

import math
import os
import re
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flowrunner import NodeFailed

CHUNK = 64 * 1024
MAX_LINE = 1024 * 1024
_FINGERPRINT = 256
_GENERATION = re.compile(r"[.-][\dT:_.-]*\d")
"""What rotation puts behind a name: ``.1``, ``-20260301``; not ``.gz``."""
_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line without its end, and its number in the file, from 1."""

    data: bytes
    number: int


class Tail:
    """A place in a file that moves forward. Blocks on the disk: call it in a thread, never from two at once.

    A file is known by its inode and by a checksum of its first bytes, so that neither a reused inode nor a new
    content under an old name is taken for the file that was being read.
    """

    def __init__(self, path: Path, *, follow: bool, cursor: Mapping[str, Any] | None = None) -> None:
        self.too_long = 0
        """Lines of more than a MiB that were passed over."""
        self.missed = False
        """Whether the file that the cursor is of was gone, so that its unread rest could not be read."""
        self._path = path
        self._follow = follow
        self._resume = cursor
        self._file = -1
        self._start_over()

    def _start_over(self) -> None:
        self._read = 0  # bytes read from the file
        self._done = 0  # bytes in the lines that were returned
        self._line = 0
        self._rest = b""
        self._skipping = self._replaced = False
        self._head = b""

    def cursor(self) -> dict[str, Any]:
        """Return where the lines returned so far end, as JSON."""
        head = self._head[: self._done]
        place = {"inode": os.fstat(self._file).st_ino, "offset": self._done, "line": self._line}
        return {**place, "head": [len(head), zlib.crc32(head)]}

    def first_line(self) -> bytes:
        """Return the first line of the file being read."""
        first, _, _ = os.pread(self._file, MAX_LINE, 0).partition(b"\n")
        return _clean(first, 1)

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def read(self) -> list[Line] | None:
        """Return the next lines: none when a followed file has no more yet, ``None`` at the end of another.

        Raises :class:`OSError`, also for a file that is not there.
        """
        if self._file < 0:
            self._open()
        while chunk := os.pread(self._file, CHUNK, self._read):
            if lines := self._split(chunk):
                return lines
        return self._at_end()

    def _split(self, chunk: bytes) -> list[Line]:
        if self._read < _FINGERPRINT:
            self._head = (self._head + chunk)[:_FINGERPRINT]
        self._read += len(chunk)
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        lines = [line for data in whole if (line := self._finish(data)).data]
        if len(self._rest) > MAX_LINE:
            self._rest, self._skipping = b"", True
        if whole:
            self._done = self._read - len(self._rest)
        return lines

    def _finish(self, data: bytes) -> Line:
        """Count a line that is complete; the data is empty when it is blank or too long."""
        self._line += 1
        if self._skipping or len(data) > MAX_LINE:
            self.too_long += 1
            self._skipping = False
            data = b""
        return Line(_clean(data, self._line), self._line)

    def _at_end(self) -> list[Line] | None:
        if not self._follow:
            return self._flush() or None
        truncated = self._is_truncated()
        if not truncated and not self._replaced:
            self._replaced = self._is_replaced()  # what was written before the change is read next time
        elif lines := self._flush():
            return lines
        elif truncated:
            self._start_over()
        elif (following := self._open_following()) >= 0:
            self.close()
            self._start_over()
            self._file = following
        return []

    def _is_truncated(self) -> bool:
        """Tell whether the file has become shorter or begins otherwise: cut off, perhaps written again."""
        shorter = os.fstat(self._file).st_size < self._read
        return shorter or os.pread(self._file, len(self._head), 0) != self._head

    def _is_replaced(self) -> bool:
        try:
            return not os.path.samestat(os.fstat(self._file), self._path.stat())
        except FileNotFoundError:
            return False  # renamed, and no successor yet

    def _flush(self) -> list[Line]:
        """Return the half line at the end of a file to which nothing will be added."""
        if not self._rest and not self._skipping:
            return []
        line = self._finish(self._rest)
        self._rest, self._done = b"", self._read
        return [line] if line.data else []

    def _open_following(self) -> int:
        """Open the file that came after this one: the oldest of the newer ones; -1 when that has just moved."""
        mine, newer = os.fstat(self._file), list[tuple[float, Path, os.stat_result]]()
        for path in self._path.parent.iterdir():
            suffix = path.name.removeprefix(self._path.name)
            if path == self._path:
                newer.append((math.inf, path, path.stat()))
            elif suffix != path.name and _GENERATION.fullmatch(suffix):
                status = path.stat()
                if status.st_mtime_ns > mine.st_mtime_ns and not os.path.samestat(status, mine):
                    newer.append((status.st_mtime_ns, path, status))
        if not newer:
            return -1
        _, path, status = min(newer)
        file = _open_file(path)
        if os.path.samestat(os.fstat(file), status):
            return file
        os.close(file)
        return -1

    def _open(self) -> None:
        self._file = -1 if self._resume is None else self._find(self._resume)
        if self._file < 0:
            self._file = _open_file(self._path)
            self.missed = self._resume is not None
        self._resume = None

    def _find(self, cursor: Mapping[str, Any]) -> int:
        """Open the file that the cursor is of, also under another name in its directory; -1 for none."""
        paths = [self._path, *(sorted(self._path.parent.iterdir()) if self._follow else [])]
        for path in paths:
            file = _open_same(path, cursor)
            if file >= 0:
                self._read = self._done = cursor["offset"]
                self._line = cursor["line"]
                self._head = os.pread(file, cursor["head"][0], 0)
                return file
        return -1


def _open_same(path: Path, cursor: Mapping[str, Any]) -> int:
    """Open ``path`` if it is the file that ``cursor`` was taken in, else return -1."""
    try:
        if path.stat().st_ino != cursor["inode"]:
            return -1
        file = _open_file(path)
    except FileNotFoundError:
        return -1
    length, checksum = cursor["head"]
    if os.fstat(file).st_size >= cursor["offset"] and zlib.crc32(os.pread(file, length, 0)) == checksum:
        return file
    os.close(file)
    return -1


def _open_file(path: Path) -> int:
    # A pipe must not hold the thread until somebody writes to it.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    raise NodeFailed(f"{path} is not a regular file")


def _clean(line: bytes, number: int) -> bytes:
    line = line.removesuffix(b"\r")
    return line.removeprefix(_BOM) if number == 1 else line
