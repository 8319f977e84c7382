"""A table: rows with the key of an architecture and columns of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from nasplat.errors import DataError, expected_one_of
from nasplat.files import json_hash
from nasplat.table.naming import Naming, naming_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from nasplat.space import Arch, Space

Rows = Callable[["Arch"], int | None]
"""The number of the row of an architecture; None where the table has none."""


@dataclass(frozen=True, slots=True)
class Column:
    """What a column of numbers holds: its unit ("1" for a plain number), and the better end where it is known."""

    name: str
    unit: str = "1"
    direction: str | None = None


@dataclass(frozen=True)
class Table:
    """n rows of numbers with a key each.

    frame: the rows as pandas read them. key: the columns of the key; their texts, joined by a space, are the key of a
    row; none where the choices of an architecture stand in columns of their own. facts: the columns of numbers by
    name. hashes: the SHA-256 of each file by name. missing: a number that stands for "no value", beside empty cells
    and infinite ones. published: one of KNOWN, whose keys are written alike throughout.
    """

    name: str
    frame: pd.DataFrame
    key: tuple[str, ...]
    facts: Mapping[str, Column]
    hashes: Mapping[str, str]
    missing: float | None = None
    published: bool = False

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {len(self)} rows, {len(self.facts)} columns)"

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The key of every row."""
        columns = (self.frame[name].astype(str) for name in self.key)
        return tuple(map(" ".join, zip(*columns, strict=True)))

    @cached_property
    def hash(self) -> str:
        """One hash of the content of all files."""
        return json_hash(dict(self.hashes))

    def column(self, name: str) -> Column:
        """What a column holds; DataError names the columns of numbers that there are."""
        if name not in self.facts:
            raise DataError(
                f"table {self.name!r} has no column of numbers {name!r}; {expected_one_of(name, self.facts)}"
            )
        return self.facts[name]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column, (n,): NaN where there is no value. DataError as for `column`."""
        import numpy as np

        given = self.frame[self.column(name).name].to_numpy(dtype=np.float64, na_value=math.nan)
        gone = ~np.isfinite(given) | (given == self.missing)
        return np.where(gone, math.nan, given)

    def naming(self, space: Space) -> Naming:
        """How the rows name the architectures of a space; DataError where none of the first keys is one of them."""
        return naming_of(self.name, self.frame, self.keys if self.key else None, space, self.published)

    def rows_of(self, space: Space) -> Rows:
        """A look-up of rows by architectures of the space. DataError as for `naming`."""
        return self.naming(space).find

    def archs(self, space: Space) -> list[Arch]:
        """The architecture of every row, in their order.

        DataError as for `naming`, for rows that are no architecture of the space, and for keys that name none by
        themselves, such as hashes.
        """
        return self.naming(space).archs()
