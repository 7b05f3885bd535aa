"""The dead letters of flows, from outside the process that may be running them.

Everything is done in short transactions: the flow that has the file open hardly waits.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from flowrunner.errors import FlowrunnerError
from flowrunner.runtime import database
from flowrunner.runtime.letters import table as letter_table
from flowrunner.runtime.letters.table import Kept, Selection

PAGE = 500
"""Letters that are read or changed in one transaction."""


class LetterFile:
    """The dead letters in the state file of one flow."""

    def __init__(self, flow: str, path: Path) -> None:
        self.flow = flow
        self._path = path

    def read(self, chosen: Selection) -> list[Kept]:
        """Return the chosen letters, read page by page. Raises :class:`FlowrunnerError` when that cannot be done."""
        found: list[Kept] = []
        while len(found) < chosen.limit:
            page = msgspec.structs.replace(chosen, limit=min(PAGE, chosen.limit - len(found)))
            letters = self._page(page)
            found += letters
            if not letters:
                break
            bound = letters[-1].number
            chosen = msgspec.structs.replace(chosen, **{"before" if chosen.newest else "after": bound})
        return found

    def want(self, numbers: Sequence[int]) -> None:
        """Ask for letters to be replayed."""
        for part in _pages(numbers):
            self._want(part)

    def purge(self, letters: Sequence[Kept]) -> int:
        """Delete letters for good; return how many there still were."""
        return sum(self._purge(part) for part in _pages(letters))

    def _page(self, chosen: Selection) -> list[Kept]:
        return self._use(lambda connection: letter_table.select(connection, chosen))

    def _want(self, numbers: Sequence[int]) -> None:
        self._change(lambda connection: letter_table.want(connection, numbers))

    def _purge(self, letters: Sequence[Kept]) -> int:
        keys = [(one.key, one.letter.clock) for one in letters]
        return self._change(lambda connection: letter_table.end(connection, "purged", keys))

    def _change[T](self, change: Callable[[sqlite3.Connection], T]) -> T:
        def use(connection: sqlite3.Connection) -> T:
            with database.transaction(connection):
                return change(connection)

        return self._use(use)

    def _use[T](self, use: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with contextlib.closing(database.connect(self._path)) as connection:
                letter_table.prepare(connection)
                return use(connection)
        except (sqlite3.Error, OSError) as error:
            raise FlowrunnerError(f"the state file {self._path} cannot be used now: {error}") from None


def letter_files(state_dir: Path) -> dict[str, LetterFile]:
    """Return the state files in a state directory, by flow."""
    paths = sorted(state_dir.glob("flows/*/state.db"))
    return {path.parent.name: LetterFile(path.parent.name, path) for path in paths}


def _pages[T](items: Sequence[T]) -> list[Sequence[T]]:
    return [items[start : start + PAGE] for start in range(0, len(items), PAGE)]
