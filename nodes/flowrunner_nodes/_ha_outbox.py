"""Between the socket and the journal: bounded, so that a journal that cannot keep up never stops the socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from flowrunner import JournalFull, Record, SourceContext
from flowrunner_nodes._ha_seen import Cursor, Mark

LIMIT = 32_768
"""Records that wait for the journal; beyond them the oldest are dropped and counted."""
BYTES = 64 * 2**20
FULL_PAUSE = 0.25
"""Seconds between two attempts to write to a journal that is full."""
DISK_PAUSE = 5.0
BATCH = 2048

type Item = tuple[Record | None, Mark | None]
"""A record, and what is to be noted in the cursor with it; either may be missing.

Plain data and no function: tens of thousands of items may wait, and the garbage collector passes these over.
"""


class Outbox:
    """Takes records without ever waiting and hands them to the journal, all there is at a time."""

    def __init__(self, context: SourceContext, cursor: Cursor | None, pause: Callable[[], float]) -> None:
        self._context = context
        self._cursor = cursor
        self._pause = pause
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._failing = False

    def put(self, record: Record | None, mark: Mark | None = None) -> None:
        """Take a record; drop the oldest when there are too many."""
        self._items.append((record, mark))
        self._bytes += 0 if record is None else len(record.data)
        self._trim()
        self._arrived.set()

    async def room(self) -> None:
        """Return when it is at most half full: for what can wait, such as the history."""
        while len(self._items) > LIMIT // 2 or self._bytes > BYTES // 2:
            self._room.clear()
            await self._room.wait()

    async def run(self) -> None:
        """Hand records to the journal until cancelled."""
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._items:
                    await self._save(self._take())
        finally:
            self._save_rest()

    async def _save(self, taken: list[Item]) -> None:
        """Have a batch journaled; take it back when that fails, to try again."""
        try:
            await asyncio.shield(self._post(taken))
        except JournalFull as error:
            self._give_back(taken, str(error))
            await asyncio.sleep(FULL_PAUSE)
        except OSError as error:
            self._give_back(taken, f"the journal cannot be written: {error}")
            await asyncio.sleep(DISK_PAUSE)
        else:
            self._room.set()
            if self._failing:
                self._failing = False
                self._context.report("running")
            await asyncio.sleep(self._pause())

    def _take(self) -> list[Item]:
        taken = [self._items.popleft() for _ in range(min(BATCH, len(self._items)))]
        self._bytes -= _size(taken)
        return taken

    def _post(self, taken: list[Item]) -> asyncio.Future[None]:
        for _, mark in taken:
            self._note(mark)
        cursor = None if self._cursor is None else self._cursor.value()
        return self._context.post([record for record, _ in taken if record is not None], cursor)

    def _note(self, mark: Mark | None) -> None:
        if mark is not None and self._cursor is not None:
            self._cursor.note(mark)

    def _give_back(self, taken: list[Item], reason: str) -> None:
        self._failing = True
        self._context.report("degraded", reason)
        self._items.extendleft(reversed(taken))
        self._bytes += _size(taken)
        self._trim()

    def _save_rest(self) -> None:
        """Post what is left when the node ends; what the journal does not take is counted."""
        while self._items:
            taken = self._take()
            try:
                self._post(taken).add_done_callback(_look_at)
            except (JournalFull, OSError) as error:
                self._give_back(taken, str(error))
                while self._items:
                    self._drop_oldest()

    def _trim(self) -> None:
        while len(self._items) > LIMIT or self._bytes > BYTES:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        record, mark = self._items.popleft()
        self._note(mark)
        if record is not None:
            self._bytes -= len(record.data)
            self._context.counters.received += 1
            self._context.counters.drop("buffer_full")


def _size(items: list[Item]) -> int:
    return sum(len(record.data) for record, _ in items if record is not None)


def _look_at(saved: asyncio.Future[None]) -> None:
    if not saved.cancelled():
        saved.exception()
