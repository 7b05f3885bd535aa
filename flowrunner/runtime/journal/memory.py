"""A journal for ``delivery: memory``: the same behaviour without a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from flowrunner.clock import Clock, FlowClock
from flowrunner.errors import JournalFull
from flowrunner.message import Record
from flowrunner.runtime.journal.entry import RUN_ENTRIES, Damage, Entry, Stamper, check_sizes
from flowrunner.runtime.journal.tail import ENTRY_BYTES, Tail


class MemoryJournal:
    """Keeps entries until they are released. Nothing survives the process; commits are immediate."""

    def __init__(self, flow_clock: FlowClock, clock: Clock, *, max_bytes: int) -> None:
        self.last = 0
        self.pending = 0
        self.error: str | None = None
        self.damaged = Damage()
        self.on_commit: Callable[[], None] = lambda: None
        self._max_bytes = max_bytes
        self._stamper = Stamper(flow_clock, clock)
        self._cursors: dict[str, bytes] = {}
        self._entries: Tail[Entry] = Tail()
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def first(self) -> int:
        """The oldest entry that is kept; 0 when there is none."""
        return self._entries.head.seq if self._entries.head else 0

    @property
    def end(self) -> int:
        """The newest entry."""
        return self.last

    @property
    def oldest_clock(self) -> int:
        """Flow clock of the oldest entry that is kept; 0 when there is none."""
        return self._entries.head.clock if self._entries.head else 0

    @property
    def bytes(self) -> int:
        """What the entries take in memory, about."""
        return self._entries.bytes

    @property
    def clock(self) -> int:
        """The highest flow clock that was given to an entry or promised by ``tick``."""
        return self._stamper.highest

    @property
    def cursors(self) -> dict[str, Any]:
        """What every source last committed with its records, by node."""
        return {node: msgspec.msgpack.decode(cursor) for node, cursor in self._cursors.items()}

    async def open(self) -> None:
        """Nothing to recover."""

    def append(self, node: str, records: Sequence[Record], cursor: Any = None) -> asyncio.Future[None]:
        """Take records and the source's cursor; the future is done already."""
        entries = self._stamper.stamp(node, records, self.last + 1)
        packed = None if cursor is None else msgspec.msgpack.encode(cursor)
        size = sum([len(record.data) for record in records]) + ENTRY_BYTES * len(records)
        check_sizes(records, size, self._max_bytes)
        if self._entries.bytes and self._entries.bytes + size > self._max_bytes:
            raise JournalFull(f"the journal in memory has reached its cap of {self._max_bytes} bytes")
        if entries:
            self._entries.push(entries, size)
        if packed is not None:
            self._cursors[node] = packed
        self.last += len(records)
        self._news.set()
        self.on_commit()
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def tick(self, clock: int) -> int:
        """Return ``clock``: nothing is ever waiting to be committed."""
        self._stamper.at_least(clock)
        return clock

    async def wait(self, after: int) -> None:
        """Return when there are entries after ``after``."""
        while self.last <= after:
            self._news.clear()
            await self._news.wait()

    async def room(self) -> None:
        """Return when something has been released since the call."""
        self._room.clear()
        await self._room.wait()

    async def read(self, after: int, limit: int = RUN_ENTRIES) -> list[Entry]:
        """Return the next entries after ``after``, in order, at most ``limit``; do not change the list."""
        return self._entries.take(after, limit)

    def release(self, upto: int) -> None:
        """Drop everything up to ``upto``, a run at a time."""
        self._entries.forget(upto)
        self._room.set()

    async def close(self) -> None:
        """Wake nobody: the owner ends its own tasks."""
