"""What a flow needs of its journal, whether that is on disk or in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from flowrunner.message import Record
from flowrunner.runtime.journal.entry import RUN_ENTRIES, Damage, Entry


class Journal(Protocol):
    """What a flow needs of its journal. All calls are made on the event loop, and none blocks it.

    After ``open`` the owner says what the last checkpoint knows: ``release(position)`` and ``tick(clock)``.
    """

    on_commit: Callable[[], None]
    """Called when a commit has ended, well or not: there may be something to read or to decide."""

    @property
    def first(self) -> int:
        """The oldest entry that is kept, history included; 0 when there is none."""

    @property
    def last(self) -> int:
        """The newest committed entry; 0 when there is none."""

    @property
    def end(self) -> int:
        """The newest entry that was ever committed. Those after ``last`` are lost, and so are those a read leaves out."""

    @property
    def pending(self) -> int:
        """Entries that are appended and not yet committed."""

    @property
    def clock(self) -> int:
        """The highest flow clock that was given to an entry or promised by ``tick``."""

    @property
    def oldest_clock(self) -> int:
        """Flow clock of the oldest entry that is not released; 0 when there is none."""

    @property
    def error(self) -> str | None:
        """Why the journal could not be written or read the last time; ``None`` when it could."""

    @property
    def damaged(self) -> Damage:
        """What was found broken since the journal was opened."""

    @property
    def bytes(self) -> int:
        """What the journal takes on disk."""

    @property
    def cursors(self) -> dict[str, Any]:
        """What every source last committed with its records, by node."""

    async def open(self) -> None:
        """Recover what was committed. Raises ``OSError`` when the disk does not answer."""

    def append(self, node: str, records: Sequence[Record], cursor: Any = None) -> asyncio.Future[None]:
        """Take records of a source, and its new cursor with them: all or nothing.

        The future is done when they are safe. When the commit fails it raises :class:`JournalFull` or an
        ``OSError``, and so do all appends that were waiting behind it: nothing of them is in the journal.
        Raises :class:`JournalFull` at once when there is no room; records that are larger than the cap together are
        taken when there is nothing else. ``TooLargeError`` when one of them is larger than the cap. ``ValueError``,
        ``TypeError`` or ``OverflowError`` when a record cannot be written down.
        """

    def tick(self, clock: int) -> int:
        """Return up to where the flow's time may go now, at most ``clock``: short of what is not committed.

        Every later record is stamped with the returned time or a later one.
        """

    async def wait(self, after: int) -> None:
        """Return when there are entries after ``after``, or when a commit has failed: look again."""

    async def room(self) -> None:
        """Return when something has been released since the call, or when it is time to try a full disk again."""

    async def read(self, after: int, limit: int = RUN_ENTRIES) -> list[Entry]:
        """Return the next entries after ``after``, in order, at most ``limit``; do not change the list.

        None means that nothing up to ``end`` can be read, now or later. Raises ``OSError`` when the disk cannot be read now.
        """

    def release(self, upto: int) -> None:
        """Make everything up to ``upto`` history: the flow will not ask for it again."""

    async def close(self) -> None:
        """Commit what is pending and let go of the files."""
