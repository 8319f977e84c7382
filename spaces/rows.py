"""The rows of a table as a space: architectures that have been measured, where most combinations of choices have not.

Any table with any space: choices, keys and words are those of the space, and only architectures in the table are ever
proposed. What a sampler draws beside the table becomes the nearest row (`nasplat.table.Listed`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasplat.arguments import check_arguments
from nasplat.errors import NasplatError
from nasplat.plugins import load
from nasplat.space import SpaceFactory
from nasplat.table import KNOWN, Listed, open_table


def rows(
    *,
    table: str,
    space: str | None = None,
    key: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    base: Path | None = None,
) -> Listed:
    """The space of the rows of a table.

    table: a published one, such as nb101 or transnas_micro/jigsaw, or the path of a CSV or Parquet file. space: whose
    architectures the rows are; by default that of the published table. key: the key column of a file of one's own.
    arguments: of the space. base: the folder that paths are relative to; a study gives its own.
    """
    whose = space or (KNOWN[table].space if table in KNOWN else None)
    if whose is None:
        raise NasplatError(f"rows of {table!r} need a space: give space = ..., whose architectures they are")
    factory = load("spaces", whose, base=base)
    inner = factory(**check_arguments(factory, arguments or {}, f"rows: arguments of space {whose!r}"))
    return Listed(inner, open_table(table, base=base, key=key).archs(inner))


SPACE: SpaceFactory = rows
