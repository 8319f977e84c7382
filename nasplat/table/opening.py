"""Reading a table: a published one by name, anyone's own by path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nasplat.errors import DataError, MissingExtra, expected_one_of
from nasplat.files import file_hash
from nasplat.table.known import KNOWN, Known
from nasplat.table.table import Column, Table

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("arch_key", "key", "arch")
"""What a key column is called where nothing else is said; `nasplat front --csv` writes the first."""

ENDINGS = (".csv", ".csv.gz", ".parquet")


def open_table(name: str, *, base: Path | None = None, key: str | None = None) -> Table:
    """The published table of a name in KNOWN, below NASPLAT_DATA; else the CSV, CSV.gz or Parquet file at a path.

    Paths are relative to `base`. key: the column that holds, for each row, `Arch.key`, the text that the space's
    field writes, or JSON; by default the first of KEYS that there is, and without any of them the choices are looked
    for in columns of their own names. DataError: no such table, file or column, keys that repeat.
    """
    if name in KNOWN:
        if key is not None:
            raise DataError(f"table {name!r} has a key of its own: leave key = {key!r} out")
        return _published(name, KNOWN[name])
    if not name.endswith(ENDINGS):
        raise DataError(
            f"unknown table {name!r}; {expected_one_of(name, KNOWN)}, or the path of a file ending in "
            f"{', '.join(ENDINGS)}"
        )
    path = Path(base or ".") / Path(name).expanduser()
    if not path.is_file():
        raise DataError(f"no file {path}: give a path relative to the file that names it")
    columns = [str(column) for column in _read(path, [], rows=0)]
    keys = _key_columns(name, key, columns)
    frame = _read(path, keys)
    numeric = [str(column) for column in frame.select_dtypes("number") if column not in keys]
    facts = {column: Column(column) for column in numeric}
    return _checked(Table(name, frame, tuple(keys), facts, {path.name: file_hash(path)}))


def _published(name: str, known: Known) -> Table:
    from nasplat.data.raw import data_root

    root = data_root()
    if root is None:
        raise DataError(
            f"table {name!r} lies in {known.files[0]}: set NASPLAT_DATA to the folder that holds it"
        )
    paths = [root / file for file in known.files]
    for path in paths:
        if not path.is_file():
            raise DataError(f"table {name!r} needs {path}, which is no file ({known.source})")
    frame, *others = (_read(path, known.key) for path in paths)
    for column, value in known.where.items():
        frame = frame[frame[column] == value].reset_index(drop=True)
    for other in others:
        frame = frame.merge(other, how="left", on=known.join, validate="one_to_one")
    frame = frame.rename(columns=dict(known.columns))
    found = {str(column): known.column(str(column)) for column in frame}
    facts = {column: fact for column, fact in found.items() if fact is not None}
    hashes = {path.name: file_hash(path) for path in paths}
    return _checked(Table(name, frame, known.key, facts, hashes, known.missing, published=True))


def _read(path: Path, keys: Sequence[str], rows: int | None = None) -> pd.DataFrame:
    """The rows of a file, keys as text; of a CSV file only the first rows where a number is given."""
    import pandas as pd

    texts = dict.fromkeys(keys, str)
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path).astype(texts)
        return pd.read_csv(path, dtype=texts, nrows=rows)
    except ImportError as error:
        raise MissingExtra(
            f"{path.name} needs a reader of Parquet: pip install pyarrow, or save it as CSV"
        ) from error
    except Exception as error:  # pandas and its readers raise what they like
        raise DataError(
            f"{path} is no table: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error


def _key_columns(name: str, key: str | None, columns: list[str]) -> list[str]:
    if key is None:
        return [known for known in KEYS if known in columns][:1]
    if key not in columns:
        raise DataError(f"table {name!r} has no key column {key!r}; {expected_one_of(key, columns)}")
    return [key]


def _checked(table: Table) -> Table:
    """The table, if it has rows, numbers and keys that differ."""
    if not len(table) or not table.facts:
        raise DataError(
            f"table {table.name!r} has {len(table)} rows and {len(table.facts)} columns of numbers: "
            f"give one row for each architecture, and a column for each number"
        )
    for column in table.key:
        if table.frame[column].isna().any():
            row = int(table.frame[column].isna().argmax())
            raise DataError(
                f"row {row} of table {table.name!r} has no key: fill its column {column!r}, or remove the row"
            )
    again, times = Counter(table.keys).most_common(1)[0] if table.key else ("", 1)
    if times > 1:
        raise DataError(
            f"table {table.name!r} has key {again!r} {times} times: keep one row for each architecture"
        )
    return table
