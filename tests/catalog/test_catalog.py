"""The catalog of a running process: it takes revisions whatever the database does, and holds up nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from flowrunner.catalog import catalog as module
from flowrunner.catalog.address import Address, address
from flowrunner.catalog.catalog import Catalog, Unavailable
from flowrunner.catalog.store import Store
from flowrunner.graph.revision import Revision
from flowrunner.runtime.backoff import Backoff
from tests.catalog.databases import ERROR, empty, revision
from tests.nodes.harness import RecordingLog
from tests.servers.postgres import PASSWORD, Postgres


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Backoff", lambda: Backoff(first=0.05, cap=0.1))


@asynccontextmanager
async def running(
    where: Address, log: RecordingLog | None = None, *recorded: Revision
) -> AsyncIterator[Catalog]:
    catalog = Catalog(where, "house", log or RecordingLog())
    for one in recorded:
        catalog.record(one)
    task = asyncio.create_task(catalog.run())
    await asyncio.sleep(0)
    try:
        yield catalog
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def hashes(where: Address) -> list[int]:
    return [int(row["hash"], 16) for row in await Store(where).read(limit=2000)][::-1]


async def test_what_is_recorded_before_during_and_at_the_end_is_written(tmp_path: Path) -> None:
    where = address(None, tmp_path)
    catalog = Catalog(where, "house", RecordingLog())
    catalog.record(revision(1))
    task = asyncio.create_task(catalog.run())
    await until(lambda: catalog.written == 1)
    catalog.record(revision(2))
    await until(lambda: catalog.written == 2)
    catalog.record(revision(3))
    task.cancel()
    await asyncio.wait({task})
    catalog.record(revision(4))

    assert [1, 2, 3] == await hashes(where)
    assert (3, 1, True) == (catalog.written, catalog.dropped, task.cancelled())


async def test_one_that_is_ended_at_once_still_ends(tmp_path: Path) -> None:
    async with running(address(None, tmp_path)) as catalog:
        catalog.record(revision(1))

    assert 1 == catalog.written + catalog.dropped


async def test_revisions_of_this_instance_are_read_through_it(tmp_path: Path) -> None:
    where = address(None, tmp_path)
    async with running(where) as catalog:
        with pytest.raises(Unavailable, match="is being opened"):
            await catalog.read("climate", 10)
        catalog.record(revision(1))
        await until(lambda: catalog.written)
        await Store(where).write("elsewhere", [revision(2)])

        assert [f"{1:064x}"] == [row["hash"] for row in await catalog.read("climate", 10)]
        assert [] == await catalog.read("other", 10)


async def test_a_database_that_dies_is_written_to_when_it_is_back(server: Postgres) -> None:
    await empty(server)
    where, log = address(server.url, Path()), RecordingLog()
    async with running(where, log) as catalog:
        catalog.record(revision(1))
        await until(lambda: catalog.written == 1)
        server.kill()
        try:
            catalog.record(revision(2))
            await until(lambda: catalog.retries >= 2)
            with pytest.raises(Unavailable):
                await catalog.read("climate", 1)
            error = catalog.error
            catalog.record(revision(3))
        finally:
            server.start()
        await until(lambda: catalog.written == 3)
        await until(lambda: catalog.error is None)

    assert error is not None
    assert [1, 2, 3] == await hashes(where)
    assert 0 == catalog.dropped
    events = [event for _, event, _ in log.lines]
    assert "the catalog cannot be written" in events
    assert "the catalog is written again" == events[-1]
    assert PASSWORD not in repr(log.lines)


async def test_a_database_that_is_down_at_the_start_is_found_later(server: Postgres) -> None:
    await empty(server)
    where = address(server.url, Path())
    server.kill()
    try:
        async with running(where) as catalog:
            catalog.record(revision(1))
            await until(lambda: catalog.retries)
            server.start()
            await until(lambda: catalog.written == 1)
    finally:
        if server._process is None:
            server.start()

    assert [1] == await hashes(where)


async def test_a_database_that_stands_still_holds_nobody_up(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    await empty(server)
    monkeypatch.setattr("flowrunner.catalog.store._SECONDS", 0.3)
    monkeypatch.setattr(module, "_FLUSH_SECONDS", 0.3)
    where = address(server.url, Path())
    catalog = Catalog(where, "house", RecordingLog())
    task = asyncio.create_task(catalog.run())
    catalog.record(revision(1))
    await until(lambda: catalog.written == 1)
    server.freeze()
    try:
        slowest = 0.0
        for number in range(200):
            before = time.perf_counter()
            catalog.record(revision(2 + number))
            await asyncio.sleep(0.001)
            slowest = max(slowest, time.perf_counter() - before)
        await until(lambda: catalog.retries >= 1)
        before = time.perf_counter()
        task.cancel()
        await asyncio.wait({task})
        ended = time.perf_counter() - before
    finally:
        server.thaw()

    assert slowest < 0.5
    assert ended < 5.0
    assert (1, 200) == (catalog.written, catalog.dropped)


@pytest.mark.parametrize(
    ("limit", "value", "size"),
    [
        pytest.param("MOST", 3, 1, id="too many"),
        pytest.param("MOST_BYTES", 3 * 10_500, 10_000, id="too large"),
    ],
)
async def test_beyond_the_cap_the_oldest_are_dropped_counted_and_logged(
    limit: str, value: int, size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, limit, value)
    where, log = address(None, tmp_path), RecordingLog()
    catalog = Catalog(where, "house", log)
    for number in range(5):
        catalog.record(revision(number, source="x" * size))
    task = asyncio.create_task(catalog.run())
    await until(lambda: catalog.written)
    task.cancel()
    await asyncio.wait({task})

    assert [2, 3, 4] == await hashes(where)
    assert (3, 2) == (catalog.written, catalog.dropped)
    assert ["revisions were not recorded"] * 2 == [event for _, event, _ in log.lines]


async def test_what_is_dropped_while_it_is_written_leaves_the_queue_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    where = address(None, tmp_path)
    catalog = Catalog(where, "house", RecordingLog())
    write = Store.write

    async def slowly(self: Store, *arguments: Any) -> None:
        await write(self, *arguments)
        if not catalog.written:
            for number in range(3, 6):
                catalog.record(revision(number))

    monkeypatch.setattr(Store, "write", slowly)
    for number in (1, 2):
        catalog.record(revision(number))
    task = asyncio.create_task(catalog.run())
    await until(lambda: catalog.written == 4)
    task.cancel()
    await asyncio.wait({task})

    assert [1, 2, 4, 5] == await hashes(where)
    assert (0, 0) == (len(catalog._waiting), catalog._bytes)


@pytest.mark.parametrize("cause", ["a newer schema", "no driver"])
async def test_without_a_catalog_that_it_can_use_the_process_goes_on(
    cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, log = address(None, tmp_path), RecordingLog()
    if cause == "a newer schema":
        store = Store(where)
        await store.prepare()
        async with store._engine.begin() as connection:
            await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0999'")
    else:
        where = address("postgresql://h/d", tmp_path)
        monkeypatch.setitem(__import__("sys").modules, "asyncpg", None)
    async with running(where, log, revision(1)) as catalog:
        await until(lambda: catalog.error)
        await until(lambda: catalog.dropped == 1)
        catalog.record(revision(2))
        with pytest.raises(Unavailable, match="newer flowrunner" if "newer" in cause else "postgres"):
            await catalog.read("climate", 1)

    assert 2 == catalog.dropped
    assert ["running without the catalog", "revisions were not recorded"] == [
        event for _, event, _ in log.lines
    ]


async def test_a_thread_that_cannot_be_started_is_no_end_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor.submit", fails)
    catalog = Catalog(address(None, tmp_path), "house", RecordingLog())
    await catalog.run()

    assert "RuntimeError: can't start new thread" == catalog.error


async def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    where, log = address(None, tmp_path), RecordingLog()
    (tmp_path / "catalog.db").write_bytes(b"no database at all" * 1000)
    async with running(where, log) as catalog:
        catalog.record(revision(1))
        await until(lambda: catalog.written)

    assert [1] == await hashes(where)
    assert (tmp_path / "catalog.db.corrupt").exists()
    assert "the catalog is damaged, a new one is begun" == log.lines[0][1]


async def test_a_full_disk_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare, failures = Store.prepare, [1, 2]

    async def full(self: Store) -> None:
        if failures:
            failures.pop()
            raise OperationalError("INSERT", None, OSError(28, "No space left on device"))
        await prepare(self)

    monkeypatch.setattr(Store, "prepare", full)
    async with running(address(None, tmp_path)) as catalog:
        catalog.record(revision(1, result="refused", diagnostics=(ERROR,)))
        await until(lambda: catalog.written)

    assert (2, None) == (catalog.retries, catalog.error)
