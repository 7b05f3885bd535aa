"""The files of one journal: segments, their rotation, retention and repair. Used from one thread only."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from flowrunner.context import Logger
from flowrunner.runtime import database
from flowrunner.runtime.journal.mark import Mark
from flowrunner.runtime.journal.segment import Batch, Segment

_SEGMENT_BYTES = 64 * 2**20
_MIN_SEGMENT_BYTES = 128 * 2**10
_WAL_BYTES = 4 * 2**20
_NAME = re.compile(r"journal-\d{16}\.db")
_PARTS = 8
"""Into how many files the cap and the retention are divided: how finely history is deleted."""


NO_END = 2**63 - 1
"""More entries than a journal ever has."""


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

    def __init__(self, directory: Path, *, max_bytes: int, retention: int, log: Logger | None = None) -> None:
        self.damaged_files = 0
        """Files set aside or found missing since the directory was opened."""
        self._directory = directory
        self._log = log
        self._mark = Mark(directory / "last")
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
        self._lock = database.lock(self._directory)
        try:
            following = max(self._scan(), self._mark.open() + 1)
            self._drop_set_aside()
        except BaseException:
            self.close()
            raise
        self._oldest_clock = self._clock_at_release()
        last, clock = next(((old.last, old.clock) for old in reversed(self._segments) if old.clock), (0, 0))
        return Recovered(dict(self._cursors), last, clock, following, self.usage())

    def append(self, batches: Sequence[Batch], cursors: Mapping[str, bytes], now: int) -> Usage:
        """Commit batches and cursors, all or nothing; history gives way when there is no room."""
        size = sum(len(batch.data) for batch in batches)
        while self._bytes() + size > self._max_bytes and self._delete_history():
            continue
        following = batches[0].first if batches else self._following()
        self._with_room(lambda: self._rotate_if_due(following, now))
        self._with_room(lambda: self._write(following, batches, cursors, now))
        self._cursors.update(cursors)
        if batches:
            self._mark.write(batches[-1].last)
            self._oldest_clock = self._oldest_clock or batches[0].clock
        return self.usage()

    def read(self, after: int, upto: int, max_entries: int, max_bytes: int) -> list[Batch]:
        """Return the next batches with entries ``after < seq <= upto``; none when there are no readable ones."""
        for segment in list(self._segments):
            if segment.last <= after:
                continue
            try:
                end = min(upto, self._end(segment))
                found = self._use(segment).read(after, end, max_entries, max_bytes)
            except (*database.ERRORS, FileNotFoundError) as error:
                if not _is_lost(error):
                    raise
                self._lose(segment, error)
                continue
            if found:
                return found
        return []

    def release(self, upto: int, now: int) -> Usage:
        """Make everything up to ``upto`` history and delete what is too old."""
        self._released = max(self._released, upto)
        # A disk that cannot be written now is the next commit's trouble.
        with contextlib.suppress(sqlite3.Error, OSError):
            self._with_room(lambda: self._rotate_if_due(self._following(), now))
            while self._is_too_old(now) and self._delete_history():
                continue
        self._oldest_clock = self._clock_at_release()
        return self.usage()

    def usage(self) -> Usage:
        """Return sizes and ends, from what is known without reading files."""
        first = next((segment.first for segment in self._segments if segment.last >= segment.first), 0)
        history = sum(segment.bytes for segment in self._segments if self._is_history(segment))
        return Usage(self._bytes(), history, first, self._oldest_clock)

    def close(self) -> None:
        """Close all files and give the directory free."""
        for segment in self._segments:
            segment.close()
        self._segments = []
        self._reading = None
        self._mark.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _scan(self) -> int:
        """Fill the list of segments; return a number greater than all that are known to have been given."""
        following = 1
        for unfinished in self._directory.glob(f"journal-*{database.UNFINISHED}*"):
            database.remove(unfinished)
        paths = sorted(path for path in self._directory.glob("journal-*.db") if _NAME.fullmatch(path.name))
        self._segments = [Segment(path, checkpoint_bytes=self._wal_bytes) for path in paths]
        for segment in list(self._segments):
            following = max(following, segment.first)
            try:
                self._examine(segment)
            except database.ERRORS as error:
                if not database.is_damage(error):
                    raise
                self._lose(segment, error)
            else:
                following = max(following, segment.last + 1)
                segment.close()
                segment.measure()  # now that the log is in the file
        return following

    def _examine(self, segment: Segment) -> None:
        if not database.is_file(segment.path):
            raise database.Damaged("it is not a file")
        segment.scan(self._end(segment))
        self._cursors.update(segment.cursors())

    def _end(self, segment: Segment) -> int:
        """Return the last number that a file can hold: another may begin before a failed commit's leftovers."""
        index = self._segments.index(segment) + 1
        return self._segments[index].first - 1 if index < len(self._segments) else NO_END

    def _is_history(self, segment: Segment) -> bool:
        """Return whether all of a file is released. One in which nothing was written yet is not history."""
        return segment.last <= self._released and (segment is not self._segments[-1] or segment.began > 0)

    def _bytes(self) -> int:
        return sum(segment.bytes for segment in self._segments)

    def _following(self) -> int:
        return self._segments[-1].last + 1 if self._segments else 1

    def _clock_at_release(self) -> int:
        for segment in self._segments:
            if segment.last > self._released:
                try:
                    return self._use(segment).clock_at(self._released + 1)
                except (*database.ERRORS, OSError):
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
        except (*database.ERRORS, FileNotFoundError) as error:
            if not _is_lost(error) and not self._is_protected(error):
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
            self._lose(self._segments[-1], None)
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

    def _is_too_old(self, now: int) -> bool:
        return bool(self._segments) and now - self._segments[0].ended > self._retention

    def _is_protected(self, error: BaseException) -> bool:
        """Return whether only the file refuses to be written: another one can be made."""
        return database.is_read_only(error) and os.access(self._directory, os.W_OK)

    def _delete_history(self) -> bool:
        """Delete the oldest file if all of it is released; return whether there was one."""
        if not self._segments or not self._is_history(self._segments[0]):
            return False
        if len(self._segments) == 1:
            self._rotate(self._following())
        segment = self._segments.pop(0)
        segment.close()
        database.remove(segment.path)
        return True

    def _lose(self, segment: Segment, error: BaseException | None) -> None:
        with contextlib.suppress(sqlite3.Error):
            segment.close()
        self._segments.remove(segment)
        self.damaged_files += 1
        kept = str(database.set_aside(segment.path)) if os.path.lexists(segment.path) else None
        self._tell("journal file is damaged", file=str(segment.path), kept_as=kept, reason=str(error))
        self._drop_set_aside()

    def _drop_set_aside(self) -> None:
        for path in database.drop_set_aside(self._directory):
            self._tell("damaged journal file deleted: there are newer ones", file=str(path))

    def _tell(self, event: str, **facts: str | None) -> None:
        if self._log is not None:
            self._log.error(event, **facts)


def _is_lost(error: BaseException) -> bool:
    return isinstance(error, FileNotFoundError) or database.is_damage(error)
