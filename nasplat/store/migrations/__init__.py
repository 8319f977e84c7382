"""The history of the schema, oldest first; the last one is what this version of nasplat reads and writes."""

from __future__ import annotations

REVISIONS: tuple[str, ...] = ("0001", "0002")
VERSION_TABLE = "nasplat_alembic_version"
