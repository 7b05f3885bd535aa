"""The tables of the catalog, in PostgreSQL and SQLite alike. Imported only when there is something to write or read."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Identity, Index, Integer, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = "0001"
"""The newest migration: the schema that this version of flowrunner reads and writes."""

_Id = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """What all tables have in common."""


class RevisionRow(Base):
    """One revision of a flow, as an instance saw it."""

    __tablename__ = "revisions"
    __table_args__ = (
        # What was written though the answer was lost is not written again.
        UniqueConstraint("instance", "flow", "time", "result", name="revisions_once"),
        Index("revisions_by_flow", "flow", "id"),
    )

    id: Mapped[int] = mapped_column(_Id, Identity(), primary_key=True)
    instance: Mapped[str] = mapped_column(Text)
    flow: Mapped[str] = mapped_column(Text)
    time: Mapped[int] = mapped_column(BigInteger)
    """Nanoseconds since the epoch."""
    result: Mapped[str] = mapped_column(Text)
    hash: Mapped[str | None] = mapped_column(Text)
    file: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    diagnostics: Mapped[list[Any]] = mapped_column(JSON)
    plan: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    source: Mapped[str | None] = mapped_column(Text)
