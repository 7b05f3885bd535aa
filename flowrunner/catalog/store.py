"""The catalog in its database: written and read through SQLAlchemy, one connection for each task."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Insert, NullPool, Select, delete, event, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from flowrunner.catalog import schema
from flowrunner.catalog.address import Address
from flowrunner.catalog.tables import SCHEMA, RevisionRow
from flowrunner.errors import FlowrunnerError
from flowrunner.graph.revision import Revision
from flowrunner.runtime.database import is_damage, set_aside
from flowrunner.runtime.letters.facts import when

KEPT = 1000
"""Revisions that are kept of each flow of an instance."""
_CONNECT_SECONDS = 5.0
_STATEMENT_SECONDS = 10.0
_SECONDS = 15.0


class Missing(FlowrunnerError):
    """There is no catalog yet, or its driver is not installed."""


class Store:
    """Reads and writes the catalog at one address."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._engine = _engine(address)
        self._insert = postgresql.insert if address.file is None else sqlite.insert

    async def prepare(self) -> None:
        """Bring the schema up to date; raises :class:`SchemaTooNewError` when it is newer than this program."""
        if self._address.file is not None:
            self._address.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._address.file.touch(mode=0o600)  # what SQLite makes beside it has the same permissions
        async with asyncio.timeout(_SECONDS), self._engine.begin() as connection:
            await connection.run_sync(schema.bring_up_to_date)

    async def write(self, instance: str, revisions: Sequence[Revision]) -> None:
        """Add revisions in one transaction; those that say the same as the one before are left out."""
        async with asyncio.timeout(_SECONDS), self._engine.begin() as connection:
            last: dict[str, Revision | None] = {}
            for revision in revisions:
                if revision.flow not in last:
                    last[revision.flow] = await self._last(connection, instance, revision.flow)
                if not revision.repeats(last[revision.flow]):
                    await connection.execute(self._adding(_row(instance, revision)))
                last[revision.flow] = revision
            for flow in last:
                await connection.execute(_old(instance, flow))

    async def read(
        self, *, limit: int, flow: str | None = None, instance: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the newest revisions, the newest first, as plain data."""
        wanted = select(RevisionRow.__table__).order_by(RevisionRow.id.desc()).limit(limit)
        if flow is not None:
            wanted = wanted.where(RevisionRow.flow == flow)
        if instance is not None:
            wanted = wanted.where(RevisionRow.instance == instance)
        if self._address.file is not None and not self._address.file.exists():
            raise Missing(f"there is no catalog at {self._address.shown}")
        async with asyncio.timeout(_SECONDS), self._engine.connect() as connection:
            found = await connection.run_sync(schema.version)
            if found is None:
                raise Missing(f"there is no catalog at {self._address.shown}")
            if found != SCHEMA:
                schema.check(found)
                raise Missing(f"the catalog has schema {found}; `flowrunner run` brings it to {SCHEMA}")
            rows = (await connection.execute(wanted)).mappings().all()
        return [{**row, "time": when(row["time"])} for row in rows]

    def mend(self, error: BaseException) -> str | None:
        """Set a damaged file aside and return its new name; ``None`` when the error means something else."""
        if self._address.file is None or not isinstance(error, DatabaseError) or not is_damage(error.orig):  # type: ignore[arg-type]  # a driver's error
            return None
        return set_aside(self._address.file).name

    async def _last(self, connection: AsyncConnection, instance: str, flow: str) -> Revision | None:
        row = (await connection.execute(_newest(instance, flow))).mappings().one_or_none()
        if row is None:
            return None
        facts = {name: row[name] for name in Revision.__struct_fields__}
        return msgspec.convert(facts, Revision)

    def _adding(self, row: dict[str, Any]) -> Insert:
        return self._insert(RevisionRow).values(row).on_conflict_do_nothing()


def _engine(address: Address) -> AsyncEngine:
    if address.file is not None:
        engine = create_async_engine(
            f"sqlite+aiosqlite:///{address.file}",
            poolclass=NullPool,
            connect_args={"timeout": _CONNECT_SECONDS, "isolation_level": None},
        )
        event.listen(engine.sync_engine, "begin", _begin)
        return engine
    try:
        import asyncpg
    except ImportError:
        raise Missing("PostgreSQL needs a driver: install flowrunner-engine[postgres]") from None

    async def connect() -> Any:
        # asyncpg reads the address itself: it knows all that libpq knows, such as sslmode and several hosts.
        return await asyncpg.connect(
            address.dsn, timeout=_CONNECT_SECONDS, command_timeout=_STATEMENT_SECONDS
        )

    return create_async_engine("postgresql+asyncpg://", poolclass=NullPool, async_creator=connect)


def _begin(connection: Connection) -> None:
    """Begin transactions in earnest: by itself the driver of SQLite commits before it changes tables."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _newest(instance: str, flow: str) -> Select[Any]:
    return (
        select(RevisionRow.__table__)
        .where(RevisionRow.instance == instance, RevisionRow.flow == flow)
        .order_by(RevisionRow.id.desc())
        .limit(1)
    )


def _old(instance: str, flow: str) -> Any:
    mine = (RevisionRow.instance == instance, RevisionRow.flow == flow)
    first = select(RevisionRow.id).where(*mine).order_by(RevisionRow.id.desc()).offset(KEPT).limit(1)
    return delete(RevisionRow).where(*mine, RevisionRow.id <= first.scalar_subquery())


def _row(instance: str, revision: Revision) -> dict[str, Any]:
    row: dict[str, Any] = _clean({"instance": instance, **msgspec.to_builtins(revision)})
    return row


def _clean(value: Any) -> Any:
    """Return a value without what a database refuses in texts: zeros and halves of characters."""
    match value:
        case str():
            return value.encode(errors="replace").decode().replace("\0", "\ufffd")
        case dict():
            return {_clean(key): _clean(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_clean(inner) for inner in value]
    return value
