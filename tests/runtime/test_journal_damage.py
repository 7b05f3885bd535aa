"""The journal after its files were damaged, at every place: it opens, goes on, and knows to the record what is gone."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from random import Random

import pytest

from flowrunner import NANOSECONDS, Record
from flowrunner.clock import FlowClock
from flowrunner.runtime.journal import DiskJournal, Entry
from flowrunner.testing import VirtualClock
from tests.nodes.harness import RecordingLog

START = 1_772_359_200 * NANOSECONDS
TOTAL = 24
"""Records in the journal before it is damaged."""


def make(folder: Path, log: RecordingLog | None = None, max_bytes: int = 2**24) -> DiskJournal:
    clock = VirtualClock(START)
    return DiskJournal(folder, FlowClock(clock), clock, max_bytes=max_bytes, log=log)


def data(number: int) -> bytes:
    return b"%d " % number + Random(number).randbytes(200)


async def read_all(journal: DiskJournal, after: int = 0) -> list[Entry]:
    found: list[Entry] = []
    while entries := await journal.read(found[-1].seq if found else after):
        found += entries
    return found


async def write(journal: DiskJournal, first: int, last: int, step: int = 2) -> None:
    for number in range(first, last + 1, step):
        records = [Record(data(each)) for each in range(number, min(number + step, last + 1))]
        await journal.append("a", records, number + step - 1)


async def examine(folder: Path) -> tuple[int, int]:
    """Open, read, go on, open again; return how many records are lost and files set aside."""
    journal = make(folder)
    await journal.open()
    found = await read_all(journal)
    lost = journal.damaged.entries
    assert [entry.data for entry in found] == [data(entry.seq) for entry in found]
    assert (journal.end, TOTAL) == (TOTAL, len(found) + lost)
    assert journal.cursors.get("a", 0) <= TOTAL
    await journal.append("a", [Record(data(TOTAL + 1))], TOTAL + 1)
    assert [entry.seq for entry in await read_all(journal, TOTAL)] == [TOTAL + 1]
    damaged = journal.damaged.files
    await journal.close()
    journal = make(folder)
    await journal.open()
    assert await read_all(journal) == [*found, *await read_all(journal, TOTAL)]
    assert journal.cursors["a"] == journal.end == TOTAL + 1
    await journal.close()
    return lost, damaged


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal that was closed: one file, nothing in the write-ahead log."""
    folder = tmp_path_factory.mktemp("closed") / "journal"
    asyncio.run(_write_closed(folder))
    return folder


async def _write_closed(folder: Path) -> None:
    journal = make(folder)
    await journal.open()
    await write(journal, 1, TOTAL)
    await journal.close()


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal as ``kill -9`` leaves it: half in the file, half in the write-ahead log."""
    folder = tmp_path_factory.mktemp("killed")
    asyncio.run(_write_killed(folder))
    return folder / "copy"


async def _write_killed(folder: Path) -> None:
    journal = make(folder / "live")
    await journal.open()
    await write(journal, 1, TOTAL // 2)
    await journal.close()
    journal = make(folder / "live")
    await journal.open()
    await write(journal, TOTAL // 2 + 1, TOTAL)
    shutil.copytree(folder / "live", folder / "copy")
    await journal.close()


def flip(path: Path, offset: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


type Work = Callable[[Path], object]


async def damaged_copies(template: Path, tmp_path: Path, damages: Iterator[tuple[str, Work]]) -> list[int]:
    """Examine a copy for each damage; return how many records each one cost."""
    costs = []
    for name, damage in damages:
        copy = tmp_path / "copy"
        shutil.copytree(template, copy)
        damage(copy)
        try:
            lost, _ = await examine(copy)
        except BaseException as error:
            error.add_note(f"damage: {name}")
            raise
        costs.append(lost)
        shutil.rmtree(copy)
    return costs


def one(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def bits(
    pattern: str, offsets: Iterable[int], choose: Callable[[], int] | None = None
) -> Iterator[tuple[str, Work]]:
    """Yield a damage for each offset in a file: one flipped bit."""
    chance = Random(7)
    for offset in offsets:
        bit = choose() if choose is not None else chance.randrange(8)
        yield f"bit {bit} of byte {offset}", partial(_flip_in, pattern, offset, bit)


def _flip_in(pattern: str, offset: int, bit: int, folder: Path) -> None:
    flip(one(folder, pattern), offset, bit)


def cuts(pattern: str, lengths: Iterable[int]) -> Iterator[tuple[str, Work]]:
    """Yield a damage for each length that a file is cut to."""
    for length in lengths:
        yield f"{length} bytes", partial(_cut_in, pattern, length)


def _cut_in(pattern: str, length: int, folder: Path) -> None:
    os.truncate(one(folder, pattern), length)


class TestFlippedBits:
    async def test_every_byte_of_the_header(self, closed: Path, tmp_path: Path) -> None:
        costs = await damaged_copies(closed, tmp_path, bits("*.db", range(100)))

        assert {0, TOTAL} == set(costs)

    @pytest.mark.parametrize("bit", range(8))
    async def test_every_bit_of_the_version(self, closed: Path, tmp_path: Path, bit: int) -> None:
        """It must not be taken for the file of a newer flowrunner, which would be left alone for ever."""
        places = [*range(60, 64), *range(68, 72)]
        costs = await damaged_copies(closed, tmp_path, bits("*.db", places, lambda: bit))

        assert [TOTAL] * 4 + [0] * 4 == costs

    async def test_places_all_over_the_file(self, closed: Path, tmp_path: Path) -> None:
        size = one(closed, "*.db").stat().st_size
        costs = await damaged_copies(closed, tmp_path, bits("*.db", range(100, size, 97)))

        assert 0 in costs
        assert 2 in costs

    async def test_places_all_over_the_write_ahead_log(self, killed: Path, tmp_path: Path) -> None:
        size = one(killed, "*.db-wal").stat().st_size
        costs = await damaged_copies(killed, tmp_path, bits("*.db-wal", range(0, size, 499)))

        assert {0} != set(costs)
        assert max(costs) == TOTAL // 2

    async def test_places_in_the_file_below_the_write_ahead_log(self, killed: Path, tmp_path: Path) -> None:
        size = one(killed, "*.db").stat().st_size
        costs = await damaged_copies(killed, tmp_path, bits("*.db", range(0, size, 199)))

        assert 0 in costs

    async def test_every_byte_of_the_number_of_the_newest_entry(self, closed: Path, tmp_path: Path) -> None:
        size = (closed / "last").stat().st_size
        costs = await damaged_copies(closed, tmp_path, bits("last", range(size)))

        assert [0] * size == costs


class TestTruncation:
    @pytest.mark.parametrize("pattern", ["*.db", "*.db-wal"])
    async def test_at_many_lengths(self, killed: Path, tmp_path: Path, pattern: str) -> None:
        size = one(killed, pattern).stat().st_size
        lengths = sorted({*range(0, size, size // 150), *range(0, 4200, 100), size - 1})
        costs = await damaged_copies(killed, tmp_path, cuts(pattern, lengths))

        assert max(costs) == (TOTAL if pattern == "*.db" else TOTAL // 2)
        if pattern == "*.db-wal":
            assert costs == sorted(costs, reverse=True)


def replace_by_directory(path: Path) -> None:
    path.unlink(missing_ok=True)
    (path / "inside").mkdir(parents=True)


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def replace_by_another_database(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE x (y)")
    connection.close()


DAMAGES: dict[str, Work] = {
    "deleted": Path.unlink,
    "of-no-length": lambda path: path.write_bytes(b""),
    "of-zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "of-text": lambda path: path.write_text("this is not a database " * 1000),
    "a-directory": replace_by_directory,
    "a-pipe": replace_by_pipe,
    "a-link-to-nowhere": replace_by_link,
    "another-database": replace_by_another_database,
    "with-a-directory-for-a-log": lambda path: replace_by_directory(Path(f"{path}-wal")),
}


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of several files."""
    folder = tmp_path_factory.mktemp("long") / "journal"
    asyncio.run(_write_long(folder))
    return folder


async def _write_long(folder: Path) -> None:
    journal = make(folder, max_bytes=2**20)
    await journal.open()
    for number in range(1, TOTAL + 1):
        record = Record(b"%d " % number + Random(number).randbytes(20_000))
        await journal.append("a", [record], number)
    await journal.close()


class TestFilesInTheWrongState:
    @pytest.mark.parametrize("which", [0, 1, -1], ids=["first", "middle", "last"])
    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
    async def test_a_file_costs_exactly_what_was_in_it(
        self, long: Path, tmp_path: Path, damage: Work, which: int
    ) -> None:
        folder = tmp_path / "journal"
        shutil.copytree(long, folder)
        paths = sorted(folder.glob("*.db"))
        firsts = [int(path.stem[-16:]) for path in paths] + [TOTAL + 1]
        index = range(len(paths))[which]
        gone = range(firsts[index], firsts[index + 1])
        assert len(paths) >= 3
        damage(paths[which])

        log = RecordingLog()
        journal = make(folder, log)
        await journal.open()
        found = await read_all(journal)
        assert [entry.seq for entry in found] == [n for n in range(1, TOTAL + 1) if n not in gone]
        assert (journal.damaged.entries, journal.end) == (len(gone), TOTAL)
        assert journal.damaged.files == (0 if not list(folder.glob("*.corrupt")) else 1)
        assert len(log.lines) == journal.damaged.files
        await journal.append("a", [Record(b"new")], "on")
        assert [entry.seq for entry in await read_all(journal, TOTAL)] == [TOTAL + 1]
        await journal.close()

        journal = make(folder)
        await journal.open()
        assert [entry.seq for entry in await read_all(journal)] == [entry.seq for entry in found] + [
            TOTAL + 1
        ]
        assert journal.cursors == {"a": "on"}
        await journal.close()

    async def test_all_files_are_deleted(self, long: Path, tmp_path: Path) -> None:
        folder = tmp_path / "journal"
        shutil.copytree(long, folder)
        for path in folder.glob("*.db"):
            path.unlink()

        journal = make(folder)
        await journal.open()
        assert await read_all(journal) == []
        assert (journal.damaged.entries, journal.end, journal.cursors) == (TOTAL, TOTAL, {})
        await journal.close()

    async def test_of_the_files_that_are_set_aside_the_newest_are_kept(
        self, long: Path, tmp_path: Path
    ) -> None:
        folder = tmp_path / "journal"
        log = RecordingLog()
        for _ in range(3):
            shutil.copytree(long, folder, dirs_exist_ok=True)
            for path in folder.glob("*.db"):
                path.write_text("damaged")
            journal = make(folder, log)
            await journal.open()
            await journal.close()

        assert len(list(folder.glob("*.corrupt"))) == 4
        deleted = [facts["file"] for _, event, facts in log.lines if "deleted" in event]
        assert len(log.lines) - 2 * len(deleted) == 4


class TestPermissions:
    """As another user than root, whom no permission stops."""

    @pytest.fixture
    def folder(self, long: Path) -> Iterator[Path]:
        root = Path(tempfile.mkdtemp())
        shutil.copytree(long, root / "journal")
        nobody = 65_534
        if os.geteuid() == 0:
            for path in (root, root / "journal", *(root / "journal").iterdir()):
                os.chown(path, nobody, nobody)
            os.setegid(nobody)
            os.seteuid(nobody)
        yield root / "journal"
        if os.getuid() == 0:
            os.seteuid(0)
            os.setegid(0)
        shutil.rmtree(root)

    @pytest.mark.parametrize("mode", [0, 0o400], ids=["read", "written"])
    @pytest.mark.parametrize("which", [1, -1], ids=["middle", "last"])
    async def test_a_file_that_must_not_be_touched_is_waited_for_and_not_lost(
        self, folder: Path, which: int, mode: int
    ) -> None:
        path = sorted(folder.glob("*.db"))[which]
        path.chmod(mode)
        journal = make(folder)
        with pytest.raises(OSError, match=r"unable to open database file|readonly|disk I/O error"):
            await journal.open()

        path.chmod(0o600)
        await journal.open()
        assert len(await read_all(journal)) == TOTAL
        assert (journal.damaged.files, journal.damaged.entries) == (0, 0)
        await journal.close()

    async def test_a_directory_that_must_not_be_written_is_waited_for(self, folder: Path) -> None:
        folder.chmod(0o500)
        journal = make(folder)
        with pytest.raises(OSError, match="readonly"):
            await journal.open()

        folder.chmod(0o700)
        await journal.open()
        await journal.append("a", [Record(data(TOTAL + 1))], TOTAL + 1)
        assert len(await read_all(journal)) == TOTAL + 1
        await journal.close()
