"""The journal on disk against a simple model, with crashes at every step."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flowrunner import NANOSECONDS, Record
from flowrunner.clock import FlowClock
from flowrunner.runtime import database
from flowrunner.runtime import segment as segment_module
from flowrunner.runtime.journal import DiskJournal, Entry

START = 1_772_359_200 * NANOSECONDS


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
        self.run(self.release_now())
        self.promised = max(self.promised, self.journal.tick(self.promised))

    async def release_now(self) -> None:
        self.journal.release(self.released)

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def make(self, sizes: list[int]) -> list[Record]:
        made = []
        for size in sizes:
            self.number += 1
            made.append(Record(b"%d " % self.number + self.number.to_bytes(3, "big") * size))
        return made

    @rule(
        appends=st.lists(
            st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 400), max_size=40)),
            min_size=1,
            max_size=4,
        )
    )
    def append(self, appends: list[tuple[str, list[int]]]) -> None:
        made = [(node, self.make(sizes), self.number) for node, sizes in appends]

        async def post() -> None:
            await asyncio.gather(*[self.journal.append(*one) for one in made])

        self.run(post())
        for node, records, cursor in made:
            self.cursors[node] = cursor
            self.committed += [record.data for record in records]

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
    max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
