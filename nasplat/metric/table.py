"""A column of a table as a metric."""

from __future__ import annotations

import math
from pathlib import Path

from nasplat.errors import InvalidStudy
from nasplat.metric.candidate import Candidate, Workbench
from nasplat.metric.measurement import Cost, Measurement, Metric
from nasplat.table import KNOWN, open_table

PREFIX = "table:"


def table_metric(
    bench: Workbench, name: str, base: Path | None, key: str | None = None, unit: str | None = None
) -> Metric:
    """A column of a table: NAME is of a published one, such as nb201, or the path of a CSV or Parquet file.

    An architecture that is not in the table, and an empty cell, are failures of that trial with their reason. `key`
    and `unit` are for files of one's own, whose direction stands in the study file.
    """
    place, column = _split(name)
    table = open_table(place, base=base, key=key)
    fact = table.column(column)
    if place in KNOWN and unit is not None:
        raise InvalidStudy(f"metric {name!r} is in {fact.unit!r}: leave unit = {unit!r} out")

    rows, numbers = table.rows_of(bench.space), table.numbers(column)

    def measure(candidate: Candidate) -> Measurement:
        row = rows(candidate.arch)
        if row is None:
            words = bench.space.notation.spell(candidate.arch)
            return _nothing(f"architecture {words} is not in the table {place} ({len(table)} rows)")
        value = float(numbers[row])
        if math.isnan(value):
            return _nothing(
                f"{column} is empty in row {row} of the table {place}, or holds what stands for no value"
            )
        return Measurement(value)

    origin = {
        "protocol": "table",
        "table": place,
        "column": column,
        "key": list(table.key),
        "file": table.hash,
    }
    if not table.published:
        origin["unit"] = unit or fact.unit
    return Metric(name, unit or fact.unit, fact.direction, Cost.LOOKUP, origin, measure)


def _nothing(reason: str) -> Measurement:
    return Measurement(None, status="failed", reason=reason)


def _split(name: str) -> tuple[str, str]:
    """The table and the column of "table:NAME/COLUMN", where NAME may hold slashes."""
    whole = name.removeprefix(PREFIX)
    place, _, column = whole.rpartition("/")
    if not place or not column or whole in KNOWN:
        raise InvalidStudy(
            f"metric {name!r} names no column: write {PREFIX}NAME/COLUMN, as in table:nb201/c10_test_e200"
        )
    return place, column
