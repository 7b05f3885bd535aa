"""The catalog in real databases: what is written is read, and schemas go up and down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from flowrunner.catalog import schema, store
from flowrunner.catalog.address import Address, address
from flowrunner.catalog.schema import SchemaTooNewError
from flowrunner.catalog.store import Missing, Store
from flowrunner.catalog.tables import SCHEMA, Base
from tests.catalog.databases import ERROR, empty, revision
from tests.servers.postgres import Postgres

NONE_YET: Any = None


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
async def where(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Address]:
    if request.param == "sqlite":
        yield address(None, tmp_path / "state")
    else:
        running = request.getfixturevalue("server")
        await empty(running)
        yield address(running.url, tmp_path)


@pytest.fixture
async def catalog(where: Address) -> Store:
    made = Store(where)
    await made.prepare()
    return made


async def hashes(catalog: Store, **conditions: Any) -> list[int]:
    return [int(row["hash"], 16) for row in await catalog.read(**{"limit": 100, **conditions})]


async def run(catalog: Store, work: Any) -> Any:
    async with catalog._engine.begin() as connection:
        return await connection.run_sync(work)


async def test_what_is_written_is_read_the_newest_first(catalog: Store) -> None:
    refused = revision(2, result="refused", plan=None, source=None, reason="no", diagnostics=(ERROR,))
    await catalog.write("house", [revision(1), refused])

    newest, oldest = await catalog.read(limit=10)

    assert {
        "id": oldest["id"],
        "instance": "house",
        "flow": "climate",
        "time": "2026-03-01T10:00:00.000Z",
        "result": "applied",
        "hash": f"{1:064x}",
        "file": "flows/climate.yaml",
        "reason": None,
        "diagnostics": [],
        "plan": msgspec.json.decode(msgspec.json.encode(revision().plan)),
        "source": "version: 1 # 1\n",
    } == oldest
    assert ("refused", "no", None, None) == tuple(
        newest[name] for name in ("result", "reason", "plan", "source")
    )
    assert [msgspec.to_builtins(ERROR)] == newest["diagnostics"]


async def test_several_instances_share_a_catalog(catalog: Store) -> None:
    await asyncio.gather(
        catalog.write("one", [revision(1), revision(2, flow="other")]),
        Store(catalog._address).write("two", [revision(3)]),
    )

    assert {1, 2, 3} == set(await hashes(catalog))
    assert [2, 1] == await hashes(catalog, instance="one")
    assert {1, 3} == set(await hashes(catalog, flow="climate"))
    assert [3] == await hashes(catalog, flow="climate", instance="two")
    assert 1 == len(await hashes(catalog, limit=1))


async def test_a_revision_that_says_the_same_again_is_left_out(catalog: Store) -> None:
    refused = {"result": "refused", "plan": None, "diagnostics": (ERROR,), "hash": "00"}
    told = [
        revision(1),
        revision(1, time=2),
        revision(3, **refused),
        revision(4, **refused),
        revision(1, time=5),
    ]

    await catalog.write("house", told[:3])
    await catalog.write("house", told[3:])
    await catalog.write("elsewhere", told[:1])

    assert [1, 0, 1] == await hashes(catalog, instance="house")
    assert [1] == await hashes(catalog, instance="elsewhere")


async def test_what_was_written_though_nobody_heard_of_it_is_not_written_again(catalog: Store) -> None:
    batch = [revision(1), revision(2)]
    await catalog.write("house", batch)
    await catalog.write("house", batch)

    assert [2, 1] == await hashes(catalog)


async def test_the_newest_of_each_flow_are_kept(catalog: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "KEPT", 3)
    await catalog.write("house", [revision(number) for number in range(6)])
    await catalog.write("other", [revision(7)])
    await catalog.write("house", [revision(8, flow="quiet"), revision(9)])

    assert [9, 5, 4] == await hashes(catalog, flow="climate", instance="house")
    assert [8] == await hashes(catalog, flow="quiet")
    assert [7] == await hashes(catalog, instance="other")


async def test_any_text_can_be_kept(catalog: Store) -> None:
    odd = "zero \0, half \udc80, ünï ☃"
    found = msgspec.structs.replace(ERROR, message=odd)
    await catalog.write("house", [revision(1, file=odd, reason=odd, source=odd, diagnostics=(found,))])

    (row,) = await catalog.read(limit=1)

    kept = "zero \ufffd, half ?, ünï ☃"
    assert [kept] * 4 == [row["file"], row["reason"], row["source"], row["diagnostics"][0]["message"]]


async def test_the_migrations_make_the_tables_that_the_models_say(catalog: Store) -> None:
    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    assert [] == await run(catalog, differences)


async def test_the_newest_migration_is_the_schema_of_this_program() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema._FOLDER))
    config.set_main_option("path_separator", "os")

    assert [SCHEMA] == ScriptDirectory.from_config(config).get_heads()


async def test_migrations_go_down_and_up_again(catalog: Store) -> None:
    await catalog.write("house", [revision(1)])
    await run(catalog, lambda connection: schema.migrate(connection, "base"))
    assert await run(catalog, schema.version) is None
    with pytest.raises(Missing, match="there is no catalog at"):
        await catalog.read(limit=1)
    await catalog.prepare()

    assert SCHEMA == await run(catalog, schema.version)
    assert [] == await catalog.read(limit=1)


async def test_a_migration_that_fails_leaves_nothing_behind(
    where: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, migrate = Store(where), schema.migrate

    def fails(connection: Connection, target: str) -> None:
        migrate(connection, target)
        raise OSError("the power fails")

    with monkeypatch.context() as patch:
        patch.setattr(schema, "migrate", fails)
        with pytest.raises(OSError, match="the power fails"):
            await made.prepare()
    with pytest.raises(Missing):
        await made.read(limit=1)
    await made.prepare()

    assert [] == await made.read(limit=1)


async def test_many_processes_that_start_at_once_make_one_schema(where: Address) -> None:
    await asyncio.gather(*(asyncio.to_thread(lambda: asyncio.run(Store(where).prepare())) for _ in range(4)))

    assert [] == await Store(where).read(limit=1)


async def test_a_newer_schema_is_refused(catalog: Store) -> None:
    await run(catalog, lambda c: c.execute(text("UPDATE alembic_version SET version_num = '0999'")))
    said = r"made by a newer flowrunner \(schema 0999, this one knows " + SCHEMA

    with pytest.raises(SchemaTooNewError, match=said):
        await catalog.prepare()
    with pytest.raises(SchemaTooNewError, match=said):
        await catalog.read(limit=1)


async def test_an_older_schema_is_read_after_it_was_migrated(
    catalog: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SCHEMA", "0002")

    with pytest.raises(Missing, match="the catalog has schema 0001; `flowrunner run` brings it to 0002"):
        await catalog.read(limit=1)


async def test_reading_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="there is no catalog at"):
        await Store(address(None, tmp_path)).read(limit=1)

    assert [] == list(tmp_path.iterdir())


async def test_without_the_driver_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "asyncpg", NONE_YET)

    with pytest.raises(Missing, match=r"install flowrunner-engine\[postgres\]"):
        Store(address("postgresql://x/y", Path()))
