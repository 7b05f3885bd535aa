"""Revisions of flows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of revisions."""
    op.create_table(
        "revisions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), primary_key=True),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("flow", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("hash", sa.Text),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("diagnostics", sa.JSON, nullable=False),
        sa.Column("plan", sa.JSON),
        sa.Column("source", sa.Text),
        sa.UniqueConstraint("instance", "flow", "time", "result", name="revisions_once"),
    )
    op.create_index("revisions_by_flow", "revisions", ["flow", "id"])


def downgrade() -> None:
    """Drop it, with all that was recorded."""
    op.drop_index("revisions_by_flow", "revisions")
    op.drop_table("revisions")
