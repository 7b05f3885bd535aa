"""The files of one journal: segments, their rotation, retention and repair. Used from one thread only."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from flowrunner.errors import FlowrunnerError
from flowrunner.runtime import database
from flowrunner.runtime.segment import Batch, Segment

_SEGMENT_BYTES = 64 * 2**20
_MIN_SEGMENT_BYTES = 128 * 2**10
_WAL_BYTES = 4 * 2**20
_PARTS = 8
"""Into how many files the cap and the retention are divided: how finely history is deleted."""


class Usage(msgspec.Struct, frozen=True):
    """What the files are like after a call."""

    bytes: int
    history: int
    """Bytes that can be deleted when room is needed: files that hold nothing but released entries."""
    first: int
    """The oldest entry that is kept; 0 when there is none."""
    oldest_clock: int
    """Flow clock of the oldest entry that is not released; 0 when there is none."""


class Recovered(msgspec.Struct, frozen=True):
    """What the files held when they were opened."""

    cursors: dict[str, bytes]
    last: int
    """The newest entry that can be read; 0 when there is none."""
    clock: int
    """Its flow clock."""
    following: int
    """The number to go on with: greater than every number that is known to have been given."""
    usage: Usage


class Spool:
    """The segments in a directory, oldest first. The last one is being written."""

    def __init__(self, directory: Path, *, max_bytes: int, retention: int) -> None:
        self.damaged_files = 0
        """Files set aside or found missing since the directory was opened."""
        self._directory = directory
        self._max_bytes = max_bytes
        self._retention = retention
        self._segment_bytes = min(_SEGMENT_BYTES, max(_MIN_SEGMENT_BYTES, max_bytes // _PARTS))
        self._wal_bytes = min(_WAL_BYTES, self._segment_bytes // 4)
        self._segments: list[Segment] = []
        self._cursors: dict[str, bytes] = {}
        self._released = 0
        self._reading: Segment | None = None
        self._oldest_clock = 0
        self._lock = -1

    def open(self) -> Recovered:
        """Take the directory, scan its files and set damaged ones aside.

        Raises ``FlowrunnerError`` when another process has the directory or wrote a newer format.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._take_lock()
        try:
            following = self._scan()
            last, clock = self._newest()
        except BaseException:
            self.close()
            raise
        self._oldest_clock = self._clock_at_release()
        return Recovered(dict(self._cursors), last, clock, max(following, last + 1), self.usage())

    def append(self, batches: Sequence[Batch], cursors: Mapping[str, bytes], now: int) -> Usage:
        """Commit batches and cursors, all or nothing; history gives way when there is no room."""
        size = sum(len(batch.data) for batch in batches)
        while self._bytes() + size > self._max_bytes and self._delete_history():
            continue
        following = batches[0].first if batches else self._following()
        self._with_room(lambda: self._rotate_if_due(following, now))
        self._with_room(lambda: self._write(following, batches, cursors, now))
        self._cursors.update(cursors)
        if batches and not self._oldest_clock:
            self._oldest_clock = batches[0].clock
        return self.usage()

    def read(self, after: int, upto: int, max_entries: int, max_bytes: int) -> list[Batch]:
        """Return the next batches with entries ``after < seq <= upto``; none when there are no readable ones."""
        for segment in list(self._segments):
            if segment.last <= after:
                continue
            try:
                found = self._use(segment).read(after, upto, max_entries, max_bytes)
            except (sqlite3.Error, FileNotFoundError) as error:
                if not _is_lost(error):
                    raise
                self._lose(segment)
                continue
            if found:
                return found
        return []

    def release(self, upto: int, now: int) -> Usage:
        """Make everything up to ``upto`` history and delete what is too old."""
        self._released = max(self._released, upto)
        self._with_room(lambda: self._rotate_if_due(self._following(), now))
        while self._segments and now - self._segments[0].ended > self._retention and self._delete_history():
            continue
        self._oldest_clock = self._clock_at_release()
        return self.usage()

    def usage(self) -> Usage:
        """Return sizes and ends, from what is known without reading files."""
        first = next((segment.first for segment in self._segments if segment.last >= segment.first), 0)
        history = sum(segment.bytes for segment in self._segments[:-1] if segment.last <= self._released)
        return Usage(self._bytes(), history, first, self._oldest_clock)

    def close(self) -> None:
        """Close all files and give the directory free."""
        for segment in self._segments:
            segment.close()
        self._segments = []
        self._reading = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_lock(self) -> None:
        self._lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = -1
            raise FlowrunnerError(f"the journal {self._directory} is in use by another process") from None

    def _scan(self) -> int:
        """Fill the list of segments; return a number greater than all that are known to have been given."""
        following = 1
        for unfinished in self._directory.glob(f"journal-*{database.UNFINISHED}*"):
            unfinished.unlink()
        for path in sorted(self._directory.glob("journal-*.db")):
            segment = Segment(path, checkpoint_bytes=self._wal_bytes)
            following = max(following, segment.first)
            self._segments.append(segment)
            try:
                segment.scan()
                self._cursors = segment.cursors()
            except sqlite3.Error as error:
                if not database.is_damage(error):
                    raise
                self._lose(segment)
            else:
                following = max(following, segment.last + 1)
                segment.close()
        return following

    def _newest(self) -> tuple[int, int]:
        """Return the newest readable entry and its flow clock."""
        for segment in reversed(list(self._segments)):
            try:
                newest = self._use(segment).newest()
            except sqlite3.Error as error:
                if not database.is_damage(error):
                    raise
                self._lose(segment)
                continue
            if newest is not None:
                return newest
        return 0, 0

    def _bytes(self) -> int:
        return sum(segment.bytes for segment in self._segments)

    def _following(self) -> int:
        return self._segments[-1].last + 1 if self._segments else 1

    def _clock_at_release(self) -> int:
        for segment in self._segments:
            if segment.last > self._released:
                try:
                    return self._use(segment).clock_at(self._released + 1)
                except (sqlite3.Error, OSError):
                    return 0  # the reader finds out what is wrong with the file
        return 0

    def _with_room(self, work: Callable[[], None]) -> None:
        """Do something that writes; on a full disk delete history, oldest first, and do it again."""
        while True:
            try:
                return work()
            except (sqlite3.Error, OSError) as error:
                if not (database.is_full(error) and self._delete_history()):
                    raise

    def _write(
        self, following: int, batches: Sequence[Batch], cursors: Mapping[str, bytes], now: int
    ) -> None:
        if not self._segments:
            self._rotate(following)
        try:
            self._segments[-1].insert(batches, cursors, now, self._cursors)
        except (sqlite3.Error, FileNotFoundError) as error:
            if not _is_lost(error):
                raise
            # The reader decides how much of the broken file can still be read.
            self._rotate(following)
            self._segments[-1].insert(batches, cursors, now, self._cursors)

    def _rotate_if_due(self, following: int, now: int) -> None:
        if not self._segments or not self._segments[-1].began:
            return
        active = self._segments[-1]
        if active.bytes >= self._segment_bytes or now - active.began > self._retention // _PARTS:
            self._rotate(following)

    def _rotate(self, following: int) -> None:
        """Begin a new file. The one before is closed and never written again."""
        path = Segment.path_of(self._directory, following)
        if self._segments and self._segments[-1].path == path:
            # Nothing was committed to it: it can only be broken.
            self._lose(self._segments[-1])
        created = Segment.create(path, self._cursors, checkpoint_bytes=self._wal_bytes)
        if self._segments:
            self._retire(self._segments[-1])
        self._segments.append(created)

    def _retire(self, segment: Segment) -> None:
        try:
            segment.close()
            segment.measure()
        except (sqlite3.Error, OSError):
            return  # its write-ahead log stays and is read at the next use

    def _use(self, segment: Segment) -> Segment:
        """Keep at most one file open beside the one that is being written."""
        if self._reading not in (None, segment, self._segments[-1]):
            self._reading.close()
        self._reading = segment
        return segment

    def _delete_history(self) -> bool:
        """Delete the oldest file if all of it is released; return whether there was one."""
        if len(self._segments) < 2 or self._segments[0].last > self._released:
            return False
        segment = self._segments.pop(0)
        segment.close()
        database.remove(segment.path)
        return True

    def _lose(self, segment: Segment) -> None:
        with contextlib.suppress(sqlite3.Error):
            segment.close()
        self._segments.remove(segment)
        self._set_aside(segment)

    def _set_aside(self, segment: Segment) -> None:
        self.damaged_files += 1
        if segment.path.exists():
            database.set_aside(segment.path)


def _is_lost(error: BaseException) -> bool:
    return isinstance(error, FileNotFoundError) or database.is_damage(error)
