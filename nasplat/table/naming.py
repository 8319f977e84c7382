"""How the rows of a table name the architectures of a space.

By the text that the space's field writes (`notation.spell`), by `Arch.key`, by JSON, or by a column for each choice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from nasplat.errors import DataError, InvalidArchitecture

if TYPE_CHECKING:
    import pandas as pd

    from nasplat.space import Arch, Space

TRIED = 20
"""So many keys at the top of a table show how it names architectures."""

_HASH = re.compile(r"[0-9a-f]{16}")
_UNREADABLE = (InvalidArchitecture, ValueError, KeyError, TypeError, IndexError, AttributeError)


@dataclass(frozen=True, slots=True)
class Naming:
    """Names of rows and of architectures, and which row has which name.

    name: of an architecture. read: the architecture of a row by its number, where rows can be read.
    """

    name: Callable[[Arch], str]
    rows: Mapping[str, int]
    read: Callable[[int], Arch] | None
    table: str

    def find(self, arch: Arch) -> int | None:
        """The number of an architecture's row; None where there is none."""
        return self.rows.get(self.name(arch))

    def archs(self) -> list[Arch]:
        """The architecture of every row, in their order; DataError for a row that is none, or is not readable."""
        if self.read is None:
            raise DataError(
                f"the keys of table {self.table!r} are hashes: architectures cannot be read from them; "
                f"look rows up by architectures instead"
            )
        found = []
        for row in self.rows.values():
            try:
                found.append(self.read(row))
            except _UNREADABLE as error:
                reason = " ".join(str(error).split())
                raise DataError(f"row {row} of table {self.table!r} is no architecture: {reason}") from error
        return found


def naming_of(
    table: str, frame: pd.DataFrame, keys: Sequence[str] | None, space: Space, published: bool
) -> Naming:
    """The first way of naming by which one of the first rows is an architecture of the space.

    A published table is written in one way throughout, so that its first key tells; of any other every key is read.
    """
    if keys is None:
        return _by_choices(table, frame, space)
    rows, spell = {key: row for row, key in enumerate(keys)}, space.notation.spell
    for read in (space.notation.read, json.loads):
        arch_of = _reader(keys, read, space)
        first = next(_readable(arch_of, len(keys)), None)
        if first is None:
            continue
        if published and spell(first[1]) == keys[first[0]]:
            return Naming(spell, rows, arch_of, table)
        return _read_all(table, arch_of, len(keys), spell if read is space.notation.read else _own_key)
    if all(_HASH.fullmatch(key) for key in keys[:TRIED]):
        return Naming(_own_key, rows, None, table)
    example = space.notation.spell(space.smallest())
    raise DataError(
        f"table {table!r} does not fit space {space.name!r}: its keys look like {keys[0]!r}, "
        f"expected architectures such as {example!r}, or their keys"
    )


def _by_choices(table: str, frame: pd.DataFrame, space: Space) -> Naming:
    """Rows with a column for each choice; what stands in the column of an inactive choice does not matter."""
    names = [choice.name for choice in space.choices]
    lacking = [name for name in names if name not in frame.columns]
    if lacking:
        raise DataError(
            f"table {table!r} has no key column and no column {lacking[0]!r} for that choice of space "
            f"{space.name!r}: give key = ..., one of {', '.join(map(str, frame.columns))}"
        )
    columns = {choice.name: (frame[choice.name].tolist(), choice.values) for choice in space.choices}

    def arch_of(row: int) -> Arch:
        return space.arch({name: _as_value(cells[row], legal) for name, (cells, legal) in columns.items()})

    first = next(_readable(arch_of, len(frame)), None)
    if first is None:
        raise DataError(
            f"table {table!r} does not fit space {space.name!r}: its columns {', '.join(names)} hold no architecture"
        )
    return _read_all(table, arch_of, len(frame), _own_key)


def _as_value(cell: Any, legal: Sequence[Any]) -> Any:
    """A cell as the legal value that it equals or spells; a file does not tell "1", 1, 1.0 and True apart."""
    for value in legal:
        if cell == value or str(cell) == str(value):
            return value
    return legal[0] if cell is None or cell != cell else cell  # empty where a choice is inactive


def _read_all(table: str, arch_of: Callable[[int], Arch], number: int, name: Callable[[Arch], str]) -> Naming:
    """Every row under the name of the architecture that it is read as; DataError for two rows of one."""
    rows: dict[str, int] = {}
    for row in range(number):
        try:
            key = name(arch_of(row))
        except _UNREADABLE as error:
            reason = " ".join(str(error).split())
            raise DataError(f"row {row} of table {table!r} is no architecture: {reason}") from error
        if key in rows:
            raise DataError(
                f"rows {rows[key]} and {row} of table {table!r} are the same architecture: keep one"
            )
        rows[key] = row
    return Naming(name, rows, arch_of, table)


def _reader(
    keys: Sequence[str], read: Callable[[str], Mapping[str, Any]], space: Space
) -> Callable[[int], Arch]:
    return lambda row: space.arch(read(keys[row]))


def _readable(arch_of: Callable[[int], Arch], number: int) -> Iterator[tuple[int, Arch]]:
    """Those of the first rows that are architectures, with their numbers."""
    for row in islice(range(number), TRIED):
        try:
            yield row, arch_of(row)
        except _UNREADABLE:
            continue


def _own_key(arch: Arch) -> str:
    return arch.key
