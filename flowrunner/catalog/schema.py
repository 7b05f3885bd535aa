"""The schema of a catalog: found out, and brought up to date by Alembic, by one process at a time."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from flowrunner.catalog.tables import SCHEMA
from flowrunner.errors import FlowrunnerError

_LOCK = 0x666C_6F77_7275_6E6E
"""The key of the advisory lock: the letters "flowrunn"."""


class SchemaTooNewError(FlowrunnerError):
    """A newer flowrunner has made the catalog: this one must leave it alone."""


def bring_up_to_date(connection: Connection) -> None:
    """Make or migrate the tables inside the transaction of a connection.

    Raises :class:`SchemaTooNewError` for a schema that this version does not know.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    found = version(connection)
    if found != SCHEMA:
        check(found)
        migrate(connection, "head")


def version(connection: Connection) -> str | None:
    """Return the version of the schema, ``None`` when there is none yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def check(found: str | None) -> None:
    """Raise :class:`SchemaTooNewError` when a version is not among those that are known."""
    known = {file.name.partition("_")[0] for file in (_FOLDER / "versions").glob("[0-9]*.py")}
    if found is not None and found not in known:
        raise SchemaTooNewError(
            f"the catalog was made by a newer flowrunner (schema {found}, this one knows {SCHEMA})"
        )


def migrate(connection: Connection, target: str) -> None:
    """Go up (``head``) or down (``base``, or a version) to another schema."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    if target == "head":
        command.upgrade(config, target)
    else:
        command.downgrade(config, target)


_FOLDER = Path(__file__).parent / "migrations"
