"""The journal on disk: group commit, a reader that follows in memory, and what happens when the disk fails.

One commit at a time is under way; what is appended meanwhile gathers and goes with the next. So a calm flow
commits every record at once, and a busy one hundreds together, without a timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from flowrunner.clock import Clock, FlowClock
from flowrunner.context import Logger
from flowrunner.errors import JournalFull
from flowrunner.message import NANOSECONDS, Record
from flowrunner.runtime import database
from flowrunner.runtime.journal.entry import (
    RUN_ENTRIES,
    Damage,
    Entry,
    Group,
    Stamper,
    batches,
    check_sizes,
    encode_runs,
)
from flowrunner.runtime.journal.lookup import Lookup
from flowrunner.runtime.journal.spool import Spool, Usage
from flowrunner.runtime.worker import Worker

_CLOSE_SECONDS = 5.0
_RETRY_SECONDS = 10.0


class DiskJournal:
    """A journal in SQLite files, one row for what was committed together."""

    def __init__(
        self,
        directory: Path,
        flow_clock: FlowClock,
        clock: Clock,
        *,
        max_bytes: int = 2**30,
        retention: float = 86_400.0,
        log: Logger | None = None,
    ) -> None:
        """``max_bytes`` caps the files, history included; history is kept for ``retention`` seconds."""
        self.first = 0
        self.last = 0
        self.pending = 0
        self.oldest_clock = 0
        self.damaged = Damage()
        self.bytes = 0
        self.on_commit: Callable[[], None] = lambda: None
        self._history = 0
        self._clock = clock
        self._max_bytes = max_bytes
        self._stamper = Stamper(flow_clock, clock)
        self._spool = Spool(directory, max_bytes=max_bytes, retention=int(retention * NANOSECONDS), log=log)
        self._lookup = Lookup(self._spool)
        self._worker: Worker | None = None
        self._cursors: dict[str, bytes] = {}
        self._committed = 0
        self._released = 0
        self._counted = 0
        self._group = Group()
        self._committing: Group | None = None
        self._scheduled = False
        self._failures = 0
        self._failure: str | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def clock(self) -> int:
        """The highest flow clock that was given to an entry or promised by ``tick``."""
        return self._stamper.highest

    @property
    def end(self) -> int:
        """The newest entry that was ever committed, readable or not."""
        return self._committed

    @property
    def error(self) -> str | None:
        """Why the last commit failed, or the last look into the files."""
        return self._failure or self._lookup.error

    @property
    def cursors(self) -> dict[str, Any]:
        """What every source last committed with its records, by node."""
        return {node: msgspec.msgpack.decode(cursor) for node, cursor in self._cursors.items()}

    async def open(self) -> None:
        """Recover what was committed. Raises ``OSError`` when the disk does not answer."""
        worker = Worker("journal")
        try:
            recovered = await worker.call(self._spool.open)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                worker.call(self._spool.close)  # the files are still being opened
            worker.stop()
            if isinstance(error, sqlite3.Error):
                raise database.as_disk_error(error) from error
            raise
        self._worker = worker
        self._cursors, self.last = recovered.cursors, recovered.last
        self._committed = recovered.following - 1
        self._stamper.at_least(recovered.clock)
        self._apply(recovered.usage)

    def append(self, node: str, records: Sequence[Record], cursor: Any = None) -> asyncio.Future[None]:
        """Take records and the source's cursor; the future is done when they are safe."""
        if self._worker is None:
            raise OSError("the journal is closed")
        runs = encode_runs(self._stamper.stamp(node, records, self._committed + self.pending + 1))
        packed = None if cursor is None else msgspec.msgpack.encode(cursor)
        size = sum(len(body) for _, body in runs)
        check_sizes(records, size, self._max_bytes)
        self._check_room(size)
        group = self._group
        group.add(runs, len(records), size)
        if packed is not None:
            group.cursors[node] = packed
        self.pending += len(records)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        group.futures.append(future)
        if self._committing is None and not self._scheduled:
            # Not at once: what other callers append in this turn of the loop goes with it.
            self._scheduled = True
            loop.call_soon(self._commit)
        return future

    def tick(self, clock: int) -> int:
        """Return up to where the flow's time may go now: short of what is not committed."""
        uncommitted = self._group.clock if self._committing is None else self._committing.clock
        clock = min(clock, uncommitted - 1)
        self._stamper.at_least(clock)
        return clock

    async def wait(self, after: int) -> None:
        """Return when there are entries after ``after``, or when a commit has failed: look again."""
        failures = self._failures
        while self.last <= after and failures == self._failures:
            self._news.clear()
            await self._news.wait()

    async def room(self) -> None:
        """Return when something has been released since the call, or when it is time to try a full disk again."""
        self._room.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._room.wait(), _RETRY_SECONDS)

    async def read(self, after: int, limit: int = RUN_ENTRIES) -> list[Entry]:
        """Return the next entries after ``after``, in order, at most ``limit``; do not change the list."""
        while after < self.last:
            upto = self.last
            entries = await self._lookup.find(self._worker, after, upto, limit)
            self.damaged.files = self._spool.damaged_files
            if entries:
                self._count_lost(after, entries[0].seq - 1)
                return entries
            self._count_lost(after, upto)
            if self.last == upto:
                self.last = after  # what was committed after it cannot be read any more
        self._count_lost(after, self._committed)
        return []

    def release(self, upto: int) -> None:
        """Make everything up to ``upto`` history: the flow will not ask for it again."""
        if upto > self._committed:
            if self.pending:
                raise ValueError(f"the journal ends at {self._committed}, {upto} cannot be released")
            # The checkpoint knows of entries that are gone, and done with: their numbers must not be given again.
            self._counted = max(self._counted, upto)
            self.last = self._committed = upto
        if self._worker is None or upto <= self._released:
            return
        self._released = upto
        self._worker.call(partial(self._spool.release, upto, self._clock.now())).add_done_callback(
            self._trimmed
        )

    async def close(self) -> None:
        """Commit what is pending and let go of the files. Does not wait longer than 5 s for a disk that hangs."""
        if self._worker is None:
            return
        if self._retry is not None:
            self._retry.cancel()
        self._commit()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                try:
                    while self._committing is not None:
                        self._news.clear()
                        await self._news.wait()
                finally:
                    worker, self._worker = self._worker, None
                    closed = worker.call(self._spool.close)
                    worker.stop()
                await closed

    def _check_room(self, size: int) -> None:
        waiting = self._group.bytes + (self._committing.bytes if self._committing else 0)
        if not size or (not waiting and self._released >= self._committed):
            return  # alone: what is larger than the cap is taken at a time when there is nothing else
        if self.bytes - self._history + waiting + size > self._max_bytes:
            raise JournalFull(f"the journal has reached its cap of {self._max_bytes} bytes")

    def _commit(self) -> None:
        self._scheduled = False
        if self._committing is not None or not self._group.futures:
            return
        if self._worker is None:
            self._fail([], OSError("the journal is closed"))
            return
        group, self._group = self._group, Group()
        self._committing = group
        write = partial(self._write, group, self._clock.now())
        self._worker.call(write).add_done_callback(partial(self._settle, group))

    def _write(self, group: Group, now: int) -> Usage:
        """In the worker's thread: commit a group."""
        return self._spool.append(list(batches(group.runs)), group.cursors, now)

    def _settle(self, group: Group, done: asyncio.Future[Usage]) -> None:
        self._committing = None
        error = done.exception()
        if error is None:
            self._accept(group, done.result())
        else:
            self._fail(group.futures, error)
        self._news.set()
        self.on_commit()
        self._commit()

    def _accept(self, group: Group, usage: Usage) -> None:
        self._failure = None
        self.pending -= group.count
        if group.count:
            self._committed += group.count
            self.last = self._committed
        for run in group.runs:
            self._lookup.remember(run)
        self._cursors.update(group.cursors)
        self._apply(usage)
        for future in group.futures:
            if not future.done():
                future.set_result(None)

    def _fail(self, futures: list[asyncio.Future[None]], error: BaseException) -> None:
        """Fail what was being committed and all that waited behind it: no cursor may overtake its records."""
        error = database.as_disk_error(error)
        self._failure = str(error)
        self._failures += 1
        waiting, self._group = self._group, Group()
        self.pending = 0
        for future in futures + waiting.futures:
            if not future.done():
                future.set_exception(copy.copy(error))
        if self._retry is not None:
            self._retry.cancel()
        if self._worker is not None:
            self._retry = asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._try_again)

    def _try_again(self) -> None:
        """Commit nothing, when nobody has tried for a while, to see whether the disk can be written again."""
        if self._failure is not None:
            self.append("", []).add_done_callback(lambda done: done.cancelled() or done.exception())

    def _apply(self, usage: Usage) -> None:
        self.bytes, self._history = usage.bytes, usage.history
        self.first, self.oldest_clock = usage.first, usage.oldest_clock
        self.damaged.files = self._spool.damaged_files

    def _trimmed(self, done: asyncio.Future[Usage]) -> None:
        error = done.exception()
        if error is None:
            self._apply(done.result())
            self._room.set()
        elif not isinstance(error, sqlite3.Error | OSError):
            raise error

    def _count_lost(self, after: int, upto: int) -> None:
        """Count the entries after ``after`` up to ``upto`` as lost, each of them once."""
        after = max(after, self._counted)
        if upto > after:
            self.damaged.entries += upto - after
            self._counted = upto
