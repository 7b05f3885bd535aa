"""Keys that are pressed while a command shows something, without waiting for Enter."""

from __future__ import annotations

import os
import select
import termios
import tty
from types import TracebackType
from typing import Self, TextIO


class Keys:
    """The keyboard, key by key, between entering and leaving; silent where there is none."""

    def __init__(self, file: TextIO) -> None:
        self._file = file.fileno() if file.isatty() else -1
        self._before: list[object] | None = None

    def __enter__(self) -> Self:
        """Take the keys one by one; Ctrl-C goes on to interrupt."""
        if self._file >= 0:
            self._before = termios.tcgetattr(self._file)
            tty.setcbreak(self._file)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""
        if self._before is not None:
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]  # what tcgetattr gave

    def pressed(self) -> str:
        """Return the keys that were pressed since the last time, lower-case."""
        keys = ""
        while self._before is not None and select.select([self._file], [], [], 0)[0]:
            read = os.read(self._file, 64)
            if not read:
                break
            keys += read.decode(errors="ignore").lower()
        return keys
