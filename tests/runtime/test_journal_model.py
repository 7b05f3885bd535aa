"""The journal on disk against a simple model: crashes between any two writes, disks that fill up, files that rotate."""

from __future__ import annotations

import asyncio
import resource
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flowrunner import NANOSECONDS, JournalFull, Record
from flowrunner.clock import FlowClock
from flowrunner.runtime import database
from flowrunner.runtime.journal import DiskJournal, Entry
from flowrunner.runtime.journal import segment as segment_module

START = 1_772_359_200 * NANOSECONDS
SIZES = st.lists(st.integers(0, 400), min_size=1, max_size=40)
LARGE = st.lists(st.integers(0, 12_000), min_size=1, max_size=4)


class HandClock:
    def __init__(self) -> None:
        self.wall = START

    def now(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return 0.0


class JournalMachine(RuleBasedStateMachine):
    """The model: a list of committed records, the cursors, what is released, and the time promised."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp())
        self.folder = self.root / "0"
        self.clock = HandClock()
        self.number = 0
        self.committed: list[bytes] = []
        self.cursors: dict[str, int] = {}
        self.released = 0
        self.promised = 0
        self.begin()

    def begin(self) -> None:
        self.journal = DiskJournal(self.folder, FlowClock(self.clock), self.clock, max_bytes=2**20)
        self.run(self.journal.open())
        on_disk = sum(path.stat().st_size for path in self.folder.glob("journal-*.db*"))
        assert self.journal.bytes == on_disk
        self.run(self.release_now())
        self.promised = max(self.promised, self.journal.tick(self.promised))

    async def release_now(self) -> None:
        self.journal.release(self.released)

    async def finish_release(self) -> None:
        """Let the disk's thread end what it does: a picture of moving files is of no moment."""
        await self.journal._worker.call(lambda: None)  # type: ignore[union-attr]

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def make(self, sizes: list[int]) -> list[Record]:
        made = []
        for size in sizes:
            self.number += 1
            made.append(Record(b"%d " % self.number + Random(self.number).randbytes(3 * size)))
        return made

    @rule(
        appends=st.lists(
            st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 400), max_size=40)),
            min_size=1,
            max_size=4,
        )
    )
    def append(self, appends: list[tuple[str, list[int]]]) -> None:
        taken: list[tuple[str, list[Record], int]] = []

        async def post() -> None:
            futures = []
            for node, sizes in appends:
                one = (node, self.make(sizes), self.number)
                try:
                    futures.append(self.journal.append(*one))
                except JournalFull:
                    assert self.released < len(self.committed) + sum(len(records) for _, records, _ in taken)
                    assert self.journal.bytes > 2**18
                else:
                    taken.append(one)
            await asyncio.gather(*futures)

        self.run(post())
        for one in taken:
            self.accept(*one)

    def accept(self, node: str, records: list[Record], cursor: int) -> None:
        self.cursors[node] = cursor
        self.committed += [record.data for record in records]

    @rule(sizes=st.one_of(SIZES, LARGE), left=st.integers(0, 60_000))
    def append_to_a_disk_that_fills_up(self, sizes: list[int], left: int) -> None:
        """No file may grow by more than ``left`` bytes: any write of the commit, a rotation included, may fail."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        largest = max((path.stat().st_size for path in self.folder.iterdir()), default=0)
        one = ("d", self.make(sizes), self.number)

        async def post() -> None:
            await self.journal.append(*one)

        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest + left, before[1]))
            self.run(post())
        except (JournalFull, OSError):
            pass
        else:
            self.accept(*one)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        self.append([("b", [1])])

    @rule(sizes=st.one_of(SIZES, LARGE), part=st.floats(0, 1), pages=st.booleans())
    def crash_inside_an_append(self, sizes: list[int], part: float, pages: bool) -> None:
        """Go on with what was on the disk when a part of the writes were done, in the order SQLite does them."""
        number = int(self.folder.name)
        before, after = self.root / f"{number}-before", self.root / f"{number + 1}"
        self.run(self.finish_release())
        shutil.copytree(self.folder, before)
        one = ("e", self.make(sizes), self.number)

        async def post() -> None:
            await self.journal.append(*one)

        try:
            self.run(post())
        except JournalFull:
            return
        shutil.copytree(self.folder, after)
        names = {path.name for path in before.glob("*.db*")}
        # First the log is written, from somewhere on; when it is complete pages may be moved to the file.
        for file in names if names <= {path.name for path in after.iterdir()} else ():
            share = (1.0 if pages else part) if file.endswith("-wal") else (part if pages else 0.0)
            self.mix(before / file, after / file, share)
        shutil.copy(before / "last", after / "last")
        self.run(self.journal.close())
        self.folder = after
        self.begin()
        found = self.journal.last - len(self.committed)
        assert found in (0, len(one[1])), "a commit is all or nothing"
        if found:
            self.accept(*one)

    def mix(self, before: Path, after: Path, part: float) -> None:
        """Let only the first part of what was written to a file have reached the disk."""
        old, new = before.read_bytes(), after.read_bytes()
        size = max(len(old), len(new))
        changed = [at for at in range(0, size, 8) if old[at : at + 8] != new[at : at + 8]]
        if changed:
            cut = changed[min(int(part * len(changed)), len(changed) - 1)] if part < 1.0 else size
            after.write_bytes(new[:cut] + old[cut:])

    @rule(sizes=st.lists(st.integers(0, 400), min_size=1, max_size=5), late=st.booleans())
    def append_that_fails(self, sizes: list[int], late: bool) -> None:
        """A disk error before the commit, or after it: when it has been written but nobody knows."""
        insert = segment_module.Segment.insert
        file_bytes = database.file_bytes

        def fail(*_: Any, path: str = "") -> int:
            raise OSError(5, "failed")

        async def post() -> BaseException | None:
            (result,) = await asyncio.gather(
                self.journal.append("a", self.make(sizes), -1), return_exceptions=True
            )
            return result

        try:
            if late:
                database.file_bytes = fail
            else:
                segment_module.Segment.insert = fail  # type: ignore[method-assign,assignment]
            result = self.run(post())
        finally:
            database.file_bytes = file_bytes
            segment_module.Segment.insert = insert  # type: ignore[method-assign]
        assert isinstance(result, OSError)
        # A crash may bring a late one to light; the next commit must not. So commit before anything else.
        self.append([("b", [1])])

    @rule(seconds=st.integers(-90_000, 90_000))
    def move_the_wall_clock(self, seconds: int) -> None:
        self.clock.wall = max(START, self.clock.wall + seconds * NANOSECONDS)

    @rule(ahead=st.integers(0, 10**10))
    def tick(self, ahead: int) -> None:
        self.promised = max(self.promised, self.journal.tick(self.journal.clock + ahead))

    @precondition(lambda self: self.committed)
    @rule(part=st.floats(0, 1))
    def release(self, part: float) -> None:
        self.released = max(self.released, int(part * len(self.committed)))
        self.run(self.release_now())

    @rule()
    def close_and_open(self) -> None:
        self.run(self.journal.close())
        self.begin()

    @rule()
    def crash(self) -> None:
        """Go on with a copy of the files as they are now; the old process never gets to close them."""
        copy = self.root / str(int(self.folder.name) + 1)
        try:
            shutil.copytree(self.folder, copy)
        except shutil.Error:
            # A file got its final name between the listing and the copy: take the picture again.
            shutil.rmtree(copy)
            shutil.copytree(self.folder, copy)
        self.run(self.journal.close())
        self.folder = copy
        self.begin()

    @invariant()
    def everything_committed_can_be_read(self) -> None:
        entries = self.run(self.entries(self.released))
        assert [entry.data for entry in entries] == self.committed[self.released :]
        assert [entry.seq for entry in entries] == list(range(self.released + 1, len(self.committed) + 1))
        clocks = [entry.clock for entry in entries]
        assert clocks == sorted(clocks)
        assert (self.journal.last, self.journal.pending) == (len(self.committed), 0)
        assert self.journal.cursors == self.cursors
        assert (self.journal.damaged.files, self.journal.damaged.entries) == (0, 0)

    @invariant()
    def time_does_not_go_back(self) -> None:
        assert self.journal.clock >= self.promised

    async def entries(self, after: int) -> list[Entry]:
        found: list[Entry] = []
        while entries := await self.journal.read(found[-1].seq if found else after, 50):
            found += entries
        return found

    def teardown(self) -> None:
        self.run(self.journal.close())
        self.loop.close()
        shutil.rmtree(self.root)


TestJournalAgainstModel = JournalMachine.TestCase
TestJournalAgainstModel.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
