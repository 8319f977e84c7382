"""Alembic runs this file to apply revisions on the connection that `nasplat.store.schema` hands over."""

from __future__ import annotations

from alembic import context

from nasplat.store.migrations import VERSION_TABLE
from nasplat.store.tables import Base


def ours(name: str | None, kind: str, parents: object) -> bool:
    """Whether a table belongs to us; others in the same database are left alone."""
    return kind != "table" or (name or "").startswith("nasplat_")


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    include_name=ours,
    render_as_batch=True,  # SQLite changes a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
