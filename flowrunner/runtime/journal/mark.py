"""The number of the newest entry, beside the files that hold it: so it is known how many were lost with a file.

It is written after each commit and never synced. A process that is killed leaves it exact; after a power cut it may
be older than the files, never newer.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from zlib import crc32

_DIGITS = 19


class Mark:
    """A number in a small file. That the file fails is no reason to fail: it then says 0."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def open(self) -> int:
        """Open the file and return the number; 0 when there is none that can be read."""
        with contextlib.suppress(OSError):
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            text = os.pread(self._descriptor, 64, 0)
            digits = text[:_DIGITS]
            if digits.isdigit() and text == _line(int(digits)):
                return int(digits)
        return 0

    def write(self, number: int) -> None:
        """Note the number of the newest entry."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.pwrite(self._descriptor, _line(number), 0)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _line(number: int) -> bytes:
    digits = b"%0*d" % (_DIGITS, number)
    return digits + b" %08x\n" % crc32(digits)
