"""The store: checkpoints and dead letters."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any
from zlib import crc32

import msgspec
import pytest

from flowrunner import JournalFull, Message
from flowrunner.runtime.checkpoints import statefile
from flowrunner.runtime.checkpoints import table as checkpoint_table
from flowrunner.runtime.checkpoints.store import Checkpoint, DiskStore, MemoryStore, Store
from flowrunner.runtime.letters.letter import DeadLetter
from flowrunner.runtime.letters.table import Caps, Selection
from tests.nodes.harness import SetClock

CLOCK = SetClock(9)


def checkpoint(position: int, **changes: Any) -> Checkpoint:
    fields: dict[str, Any] = {
        "position": position,
        "clock": position * 10,
        "states": {"mean": (b"state %d" % position, b"more"), "calm": (b"",)},
        "versions": {"mean": 2},
        "definitions": {"mean": "abc"},
        "counters": {"mean": {"received": position, "dropped": {"late": 1}}},
        "created": position + 1,
    }
    return Checkpoint(**fields | changes)


def letter(
    payload: Any = 1, *, seq: int = 1, node: str = "store", reason: str = "refused", **fields: Any
) -> DeadLetter:
    return DeadLetter.of(Message("t", payload, 5, clock=7, seq=seq, **fields), node, reason, 9)


@pytest.fixture(params=["disk", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made = DiskStore(tmp_path / "flow" / "state.db", CLOCK) if request.param == "disk" else MemoryStore(CLOCK)
    await made.open()
    yield made
    await made.close()


async def payloads(store: Store) -> list[Any]:
    return [kept.letter.payload for kept in await store.read_dead_letters()]


class TestEveryStore:
    async def test_there_is_no_checkpoint_at_first(self, store: Store) -> None:
        assert await store.load() is None
        assert (store.letters.count, store.letters.bytes, store.letters.ended, store.damaged) == (0, 0, {}, 0)

    async def test_the_newest_checkpoint_is_loaded_as_it_was_saved(self, store: Store) -> None:
        for position in (1, 2, 3):
            await store.save(checkpoint(position), [])

        assert await store.load() == checkpoint(3)

    async def test_the_journal_may_release_what_the_checkpoint_before_has_done(self, store: Store) -> None:
        released = [await store.save(checkpoint(position), []) for position in (10, 20, 20, 30)]

        assert released == [0, 10, 20, 20]

    async def test_dead_letters_come_back_with_all_that_they_say(self, store: Store) -> None:
        meta = MappingProxyType({"qos": 1})
        await store.save(checkpoint(1), [letter({"a": [1, None]}, meta=meta), letter(b"\xff raw", seq=2)])

        assert [kept.letter for kept in await store.read_dead_letters()] == [
            DeadLetter(1, 7, "store", "refused", "t", {"a": [1, None]}, 5, {"qos": 1}, 9),
            DeadLetter(2, 7, "store", "refused", "t", b"\xff raw", 5, {}, 9),
        ]
        assert store.letters.count == 2
        assert store.letters.bytes > 100

    async def test_a_replay_makes_no_letter_twice_but_equal_messages_are_kept_apart(
        self, store: Store
    ) -> None:
        letters = [letter(1), letter(1), letter(1, node="other"), letter(2)]
        await store.save(checkpoint(1), [])
        await store.add_dead_letters(letters[:1])
        await store.add_dead_letters(letters[1:])
        assert store.letters.count == 4
        await store.load()
        await store.save(checkpoint(2), [*letters[:3], letter(2, reason="other words")])

        assert store.letters.count == 4
        assert [kept.letter.reason for kept in await store.read_dead_letters()] == ["refused"] * 3 + [
            "other words"
        ]

    async def test_dead_letters_are_read_in_pieces_and_ended_by_key(self, store: Store) -> None:
        await store.add_dead_letters([letter(number) for number in range(10)])
        first = await store.read_dead_letters(Selection(limit=4))
        rest = await store.read_dead_letters(Selection(after=first[-1].number))
        assert [kept.letter.payload for kept in first + rest] == list(range(10))

        ended = await store.end_dead_letters("purged", [(kept.key, kept.letter.clock) for kept in first])
        assert await payloads(store) == [4, 5, 6, 7, 8, 9]
        assert (ended, store.letters.count, store.letters.ended) == (4, 6, {("store", "purged"): 4})

    @pytest.mark.parametrize(
        ("payload", "shown"),
        [
            (2**80, str(2**80)),
            ("\ud800", "\\ud800"),
            ({"x": object}, "{'x': <class 'object'>}"),
            (10**5000, "<int>"),
            ("z" * 70_000 + "\ud800", "z" * 65_536),
        ],
        ids=["huge integer", "lone surrogate", "no JSON value", "unprintable integer", "long"],
    )
    async def test_what_no_format_holds_is_kept_as_text(self, store: Store, payload: Any, shown: str) -> None:
        await store.add_dead_letters([letter(payload, meta={"k": "\udfff"}), letter("good")])

        assert await payloads(store) == [shown, "good"]

    async def test_deep_nesting_is_kept_as_text(self, store: Store) -> None:
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        await store.add_dead_letters([letter(deep)])

        assert await payloads(store) == ["<list>"]
        while deep:
            deep = deep[0]

    async def test_a_closed_store_says_so(self, store: Store) -> None:
        await store.close()
        await store.close()
        with pytest.raises(OSError, match="closed"):
            await store.save(checkpoint(1), [])


class TestDisk:
    async def test_everything_is_there_after_a_restart(self, tmp_path: Path) -> None:
        store = DiskStore(tmp_path / "state.db", CLOCK)
        await store.open()
        await store.save(checkpoint(1), [letter(1)])
        await store.save(checkpoint(2), [letter(2)])
        size = store.letters.bytes
        await store.close()

        store = DiskStore(tmp_path / "state.db", CLOCK)
        await store.open()
        assert await store.load() == checkpoint(2)
        assert await payloads(store) == [1, 2]
        assert (store.letters.count, store.letters.bytes) == (2, size)
        assert await store.save(checkpoint(3), []) == 2
        await store.close()

    async def test_the_oldest_dead_letters_give_way_and_are_counted(self, tmp_path: Path) -> None:
        store = DiskStore(tmp_path / "state.db", CLOCK, Caps(letters=5))
        await store.open()
        await store.add_dead_letters([letter(number) for number in range(250)])
        assert await payloads(store) == [245, 246, 247, 248, 249]
        assert (store.letters.count, store.letters.ended) == (5, {("store", "max_count"): 245})
        await store.close()

        store = DiskStore(tmp_path / "state.db", CLOCK, Caps(bytes=2_450))
        await store.open()
        await store.add_dead_letters([letter("x" * 1_000), letter("y" * 1_000)])
        assert await payloads(store) == [247, 248, 249, "x" * 1_000, "y" * 1_000]
        assert 2_000 < store.letters.bytes <= 2_450
        assert (store.letters.count, store.letters.ended["store", "max_bytes"]) == (5, 2)
        await store.close()

    @pytest.mark.parametrize("table", ["states", "checkpoints"])
    async def test_a_broken_checkpoint_falls_back_to_the_one_before(self, tmp_path: Path, table: str) -> None:
        path = tmp_path / "state.db"
        store = DiskStore(path, CLOCK)
        await store.open()
        for position in (1, 2):
            await store.save(checkpoint(position), [letter(position)])
        await store.close()
        connection = sqlite3.connect(path)
        if table == "states":
            connection.execute("UPDATE states SET data = x'00' WHERE checkpoint = 2 AND node = 'mean'")
        else:
            connection.execute("DELETE FROM states WHERE checkpoint = 2 AND node = 'calm'")
        connection.commit()
        connection.close()

        await store.open()
        assert await store.load() == checkpoint(1)
        assert store.damaged == 1
        assert await store.save(checkpoint(3), []) == 1
        assert await store.load() == checkpoint(3)
        assert await payloads(store) == [1, 2]
        await store.close()

    async def test_a_damaged_page_of_the_newest_checkpoint_loses_neither_the_one_before_nor_letters(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "state.db"
        store = DiskStore(path, CLOCK)
        await store.open()
        for position in (1, 2):
            states = {"n": tuple(Random(position * 100 + part).randbytes(20_000) for part in range(9))}
            await store.save(checkpoint(position, states=states), [letter(position)])
        await store.close()
        content = path.read_bytes()
        tail = Random(208).randbytes(20_000)[-64:]
        place = content.find(tail[:32])
        assert place > 0
        # The page in the chain of pages before it, with its pointer to the next one.
        start = place // 4096 * 4096 - 4096
        path.write_bytes(content[:start] + b"\xff" * 4096 + content[start + 4096 :])

        await store.open()
        found = await store.load()
        assert found is not None
        assert (1, 1) == (found.position, store.damaged)
        assert await payloads(store) == [1, 2]
        assert await store.save(checkpoint(3), []) == 1
        await store.close()

    async def test_a_file_of_the_version_before_is_taken_up(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        connection = sqlite3.connect(path)
        for statement in VERSION_1:
            connection.execute(statement)
        for number, position, flaw in ((1, 10, 0), (2, 20, 1)):
            head = msgspec.msgpack.encode([position, 5, {"n": "hash"}, {"n": {"held": 1}}, 7])
            state = msgspec.msgpack.encode([{"a": position}, [[99, "timer"]]])
            connection.execute(
                "INSERT INTO checkpoints VALUES (?, ?, ?, ?)",
                (number, position, crc32(b"n", crc32(head)), head),
            )
            connection.execute(
                "INSERT INTO states VALUES (?, 'n', ?, ?)", (number, crc32(state) + flaw, state)
            )
        connection.commit()
        connection.close()

        store = DiskStore(path, CLOCK)
        await store.open()
        found = await store.load()
        assert found is not None
        assert (10, {}, {"n": "hash"}, 1) == (
            found.position,
            found.versions,
            found.definitions,
            store.damaged,
        )
        assert [[["state", {"a": 10}], ["timers", [[99, "timer"]]]]] == [
            msgspec.msgpack.decode(chunk) for chunk in found.states["n"]
        ]
        await store.save(checkpoint(30), [letter(1)])
        await store.close()
        await store.open()
        assert await store.load() == checkpoint(30)
        await store.close()

    async def test_a_copy_is_kept_in_place_of_the_one_before(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        store = DiskStore(path, CLOCK)
        await store.open()
        for position in (1, 2):
            await store.save(checkpoint(position), [letter(position)])
            assert tmp_path / "state.db.refused" == await store.keep_copy()
        await store.save(checkpoint(3), [])
        await store.close()
        copy = DiskStore(tmp_path / "state.db.refused", CLOCK)
        await copy.open()

        assert checkpoint(2) == await copy.load()
        assert [tmp_path / "state.db.refused"] == list(tmp_path.glob("*.refused*"))
        await copy.close()

    async def test_a_flow_without_files_has_no_copy(self) -> None:
        store = MemoryStore(CLOCK)
        await store.open()

        assert await store.keep_copy() is None
        await store.close()

    @pytest.mark.parametrize("how", ["empty", "garbage", "no tables"])
    async def test_a_broken_file_is_set_aside_and_begun_anew(self, tmp_path: Path, how: str) -> None:
        path = tmp_path / "state.db"
        if how == "no tables":
            connection = sqlite3.connect(path)
            connection.execute("CREATE TABLE other (x)")
            connection.close()
        else:
            path.write_bytes(b"" if how == "empty" else os.urandom(20_000))
        store = DiskStore(path, CLOCK)
        await store.open()
        assert await store.load() is None
        assert store.damaged == 1
        assert (tmp_path / "state.db.corrupt").exists()
        await store.save(checkpoint(1), [])
        assert await store.load() == checkpoint(1)
        await store.close()

    @pytest.mark.parametrize("seed", range(12))
    async def test_flipped_bytes_anywhere_never_stop_a_flow(self, tmp_path: Path, seed: int) -> None:
        path = tmp_path / "state.db"
        store = DiskStore(path, CLOCK)
        await store.open()
        states = {f"node{number}": (Random(number).randbytes(9_000),) for number in range(5)}
        saved = [checkpoint(position, states=states) for position in (1, 2)]
        for one in saved:
            await store.save(one, [letter(number, seq=one.position) for number in range(20)])
        await store.close()
        chance = Random(seed)
        content = bytearray(path.read_bytes())
        start = chance.randrange(len(content) - 64)
        content[start : start + 64] = chance.randbytes(64)
        path.write_bytes(content)

        await store.open()
        assert await store.load() in [*saved, None]
        await store.save(checkpoint(3), [letter("new", seq=3)])
        assert await store.load() == checkpoint(3)
        await store.close()

    async def test_a_file_that_breaks_while_running_is_replaced_at_the_next_checkpoint(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "state.db"
        store = DiskStore(path, CLOCK)
        await store.open()
        await store.save(checkpoint(1), [])
        path.write_bytes(os.urandom(path.stat().st_size))
        await store.save(checkpoint(2), [letter(1)])

        assert await store.load() == checkpoint(2)
        assert store.damaged == 1
        path.unlink()
        await store.save(checkpoint(3), [])
        assert await store.load() == checkpoint(3)
        await store.close()

    async def test_a_file_of_a_newer_flowrunner_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        store = DiskStore(path, CLOCK)
        await store.open()
        await store.close()
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 9")
        connection.execute("PRAGMA application_id = 9")
        connection.close()

        with pytest.raises(Exception, match="newer flowrunner"):
            await store.open()
        assert path.exists()

    async def test_a_full_disk_keeps_the_checkpoint_before(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = DiskStore(tmp_path / "state.db", CLOCK)
        await store.open()
        await store.save(checkpoint(1), [letter(1)])
        connection = store._file._open
        await store._call(lambda: connection().execute("PRAGMA max_page_count = 20").fetchall())
        with pytest.raises(JournalFull, match="the disk is full"):
            await store.save(checkpoint(2, states={"big": (b"x" * 200_000,)}), [letter(2)])
        assert await store.load() == checkpoint(1)
        assert await payloads(store) == [1]
        await store._call(lambda: connection().execute("PRAGMA max_page_count = 1000").fetchall())
        await store.save(checkpoint(2), [letter(2)])
        assert await payloads(store) == [1, 2]
        await store.close()

    async def test_an_error_of_the_disk_is_an_os_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = DiskStore(tmp_path / "state.db", CLOCK)
        await store.open()
        await store.save(checkpoint(1), [])
        failed = sqlite3.OperationalError("disk I/O error")
        failed.sqlite_errorcode = sqlite3.SQLITE_IOERR

        def refuse(*_: object) -> None:
            raise failed

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint_table, "read", refuse)
            patch.setattr(statefile.StateFile, "_save", refuse)
            with pytest.raises(OSError, match="disk I/O error"):
                await store.load()
            with pytest.raises(OSError, match="disk I/O error"):
                await store.save(checkpoint(2), [])
        assert await store.load() == checkpoint(1)
        await store.close()
        with monkeypatch.context() as patch:
            patch.setattr(statefile.StateFile, "_open", refuse)
            with pytest.raises(OSError, match="disk I/O error"):
                await store.open()

    async def test_another_process_may_look_while_the_flow_runs(self, tmp_path: Path) -> None:
        store = DiskStore(tmp_path / "state.db", CLOCK)
        await store.open()
        await store.save(checkpoint(1), [letter(1)])
        connection = sqlite3.connect(tmp_path / "state.db")
        assert connection.execute("SELECT count(*) FROM dead_letters").fetchone() == (1,)
        await store.save(checkpoint(2), [letter(2)])
        assert connection.execute("SELECT count(*) FROM dead_letters").fetchone() == (2,)
        connection.close()
        await store.close()

    async def test_a_large_state_does_not_hold_up_the_loop(self, tmp_path: Path) -> None:
        store = DiskStore(tmp_path / "state.db", CLOCK)
        await store.open()
        saving = asyncio.ensure_future(
            store.save(checkpoint(1, states={"big": (bytes(1_000_000),) * 30}), [])
        )
        turns = 0
        while not saving.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert turns > 5
        await saving
        await store.close()


VERSION_1 = (
    "CREATE TABLE checkpoints (id INTEGER PRIMARY KEY AUTOINCREMENT, position INTEGER, crc INTEGER, head BLOB)",
    "CREATE TABLE states (checkpoint INTEGER, node TEXT, crc INTEGER, data BLOB, PRIMARY KEY (checkpoint, node))",
    """CREATE TABLE dead_letters (id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE,
    created INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL)""",
    "PRAGMA user_version = 1",
)
"""The tables of the first version of the file."""

WRITER = """
import asyncio, os, sys
from pathlib import Path
from flowrunner import Message, SystemClock
from flowrunner.runtime.letters.letter import DeadLetter
from flowrunner.runtime.checkpoints.store import Checkpoint, DiskStore

async def main():
    store = DiskStore(Path(sys.argv[1]), SystemClock())
    await store.open()
    found = await store.load()
    position = found.position if found else 0
    os.write(1, b"%d\\n" % position)
    while True:
        position += 1
        letter = DeadLetter.of(Message("t", position, 0, clock=position, seq=position), "n", "why", SystemClock().now())
        states = {"a": (b"%d" % position,), "b": (bytes(3000),) * (position % 7)}
        await store.save(Checkpoint(position, 0, states, {}, {}, {}, 0), [letter])
        os.write(1, b"%d\\n" % position)

asyncio.run(main())
"""


@pytest.mark.timeout(120)
async def test_after_kill_9_checkpoint_and_dead_letters_are_of_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    chance = Random(3)
    for _ in range(15):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:  # noqa: ASYNC220
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(chance.uniform(0, 0.05))  # noqa: ASYNC251
            os.kill(writer.pid, signal.SIGKILL)
            told = [int(line) for line in writer.stdout.read().split()]
        store = DiskStore(path, CLOCK)
        await store.open()
        found = await store.load()
        assert found is not None or not told
        if found is not None:
            assert found.position >= max(told, default=0)
            assert found.states["a"] == (b"%d" % found.position,)
            assert store.letters.count == found.position
        assert store.damaged == 0
        await store.close()
