"""Where a journal on disk finds its entries: in memory while the reader is near the end, else in the files."""

from __future__ import annotations

import sqlite3
from functools import partial

from flowrunner.runtime import database
from flowrunner.runtime.journal.entry import Entry, Run, decode
from flowrunner.runtime.journal.spool import Spool
from flowrunner.runtime.journal.tail import ENTRY_BYTES, Tail
from flowrunner.runtime.worker import Worker

_TAIL_BYTES = 8 * 2**20
_READ_BYTES = 2 * 2**20
"""What is read ahead from disk, at the most: in the file, and as it is in memory."""


class Lookup:
    """Committed entries by number. What it keeps in memory is bounded, however far behind the reader is."""

    def __init__(self, spool: Spool) -> None:
        self.error: str | None = None
        """Why the files could not be read the last time; ``None`` when they could."""
        self._spool = spool
        self._tail: Tail[Entry] = Tail(_TAIL_BYTES)
        self._ahead: Tail[Entry] = Tail()

    def remember(self, run: Run) -> None:
        """Keep what has just been committed, for a reader that is near the end."""
        entries, body = run
        self._tail.push(entries, len(body) + ENTRY_BYTES * len(entries))

    async def find(self, worker: Worker | None, after: int, upto: int, limit: int) -> list[Entry]:
        """Return the next readable entries ``after < seq <= upto``; none when there are none."""
        return self._in_memory(after, limit) or await self._on_disk(worker, after, upto, limit)

    def _in_memory(self, after: int, limit: int) -> list[Entry]:
        for runs in (self._tail, self._ahead):
            runs.forget(after)
            if runs.head is not None and runs.head.seq <= after + 1:
                return runs.take(after, limit)
        return []

    async def _on_disk(self, worker: Worker | None, after: int, upto: int, limit: int) -> list[Entry]:
        if worker is None:
            raise OSError("the journal is closed")
        try:
            self._ahead = await worker.call(partial(self._load, after, upto, limit))
        except (sqlite3.Error, OSError) as failure:
            error = database.as_disk_error(failure)
            self.error = f"cannot be read: {error}"
            raise error from failure
        self.error = None
        return self._ahead.take(after, limit) or self._tail.take(after, limit)

    def _load(self, after: int, upto: int, limit: int) -> Tail[Entry]:
        """In the worker's thread: read and decode what follows ``after``."""
        ahead: Tail[Entry] = Tail()
        while not ahead.bytes and (found := self._spool.read(after, upto, limit, _READ_BYTES)):
            for batch in found:
                entries = decode(batch)
                if entries:
                    ahead.push(
                        entries, sum([len(entry.data) for entry in entries]) + ENTRY_BYTES * len(entries)
                    )
                if ahead.bytes >= _READ_BYTES:
                    break  # compressed it was small: what is left is read the next time
            after = found[-1].last
        return ahead
