"""Tables of one's own: how rows are found, and what a mistake is told like."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import pytest

from nasplat.errors import DataError, MissingExtra
from nasplat.space import Arch, Notation, Space, categorical, ordinal
from nasplat.table import open_table

CHOICES = [
    ordinal("depth", (1, 2)),
    categorical("act", ("relu", "gelu")),
    categorical("wide", (False, True), when={"depth": (2,)}),
]
SPACE = Space("toy", CHOICES)
ARCHS = list(SPACE.enumerate())
SPOKEN = Space(
    "spoken",
    CHOICES,
    notation=Notation(
        spell=lambda arch: f"{arch['depth']}/{arch['act']}/{arch.get('wide', '-')}",
        read=lambda text: {
            name: {"1": 1, "2": 2, "True": True, "False": False}.get(word, word)
            for name, word in zip(("depth", "act", "wide"), text.split("/"), strict=True)
            if word != "-"
        },
    ),
)


def write(folder: Path, *rows: str, name: str = "own.csv") -> str:
    (folder / name).write_text("\n".join(rows) + "\n")
    return name


def numbered(folder: Path, header: str, keys: list[str]) -> str:
    quoted = ('"' + key.replace('"', '""') + '"' for key in keys)
    return write(folder, f"{header},acc", *(f"{key},{i / 10}" for i, key in enumerate(quoted)))


KEYS = {
    "key of the architecture": (SPACE, lambda a: a.key),
    "canonical JSON": (SPACE, SPACE.notation.spell),
    "JSON of another order": (SPACE, lambda a: json.dumps(dict(reversed(a.to_json().items())), indent=1)),
    "words of the field": (SPOKEN, SPOKEN.notation.spell),
    "JSON beside words of the field": (SPOKEN, lambda a: json.dumps(a.to_json())),
}


@pytest.mark.parametrize("way", KEYS)
def test_the_row_of_an_architecture_is_found_however_it_is_named(tmp_path: Path, way: str) -> None:
    space, name = KEYS[way]
    table = open_table(numbered(tmp_path, "arch", [name(a) for a in ARCHS]), base=tmp_path)
    rows = table.rows_of(space)
    assert [rows(arch) for arch in ARCHS] == list(range(len(ARCHS)))
    assert table.numbers("acc").tolist() == [i / 10 for i in range(len(ARCHS))]


@pytest.mark.parametrize("way", [way for way in KEYS if way != "key of the architecture"])
def test_the_architectures_of_all_rows_can_be_read_from_them(tmp_path: Path, way: str) -> None:
    space, name = KEYS[way]
    keys = [name(a) for a in reversed(ARCHS)]
    assert open_table(numbered(tmp_path, "arch", keys), base=tmp_path).archs(space) == ARCHS[::-1]


def test_every_row_of_an_own_table_may_be_spelled_in_its_own_way(tmp_path: Path) -> None:
    keys = [SPACE.notation.spell(ARCHS[0]), *(json.dumps(a.to_json(), indent=1) for a in ARCHS[1:])]
    table = open_table(numbered(tmp_path, "arch", keys), base=tmp_path)
    rows = table.rows_of(SPACE)
    assert [rows(arch) for arch in ARCHS] == list(range(len(ARCHS)))


@pytest.mark.parametrize("last", ['{"depth": 1, "act": "relu"}', '{"depth": 3, "act": "relu"}'])
def test_a_row_that_is_there_twice_or_none_of_the_space_is_told(tmp_path: Path, last: str) -> None:
    keys = [*map(SPACE.notation.spell, ARCHS), last]
    table = open_table(numbered(tmp_path, "arch", keys), base=tmp_path)
    lines = {
        '{"depth": 1, "act": "relu"}': "rows 0 and 6 of table 'own.csv' are the same architecture: keep one",
        '{"depth": 3, "act": "relu"}': "row 6 of table 'own.csv' is no architecture: depth",
    }
    with pytest.raises(DataError, match=lines[last]) as told:
        table.rows_of(SPACE)
    assert "\n" not in str(told.value)


def test_a_column_for_each_choice_names_architectures_too(tmp_path: Path) -> None:
    cells = (f"{a['act']},{a['depth']},{a.get('wide', '')},{i}" for i, a in enumerate(ARCHS))
    table = open_table(write(tmp_path, "act,depth,wide,acc", *cells), base=tmp_path)
    assert table.archs(SPACE) == ARCHS
    assert [table.rows_of(SPACE)(arch) for arch in ARCHS] == list(range(len(ARCHS)))


def test_an_architecture_that_is_in_no_row_has_none(tmp_path: Path) -> None:
    table = open_table(numbered(tmp_path, "key", [a.key for a in ARCHS[:3]]), base=tmp_path)
    assert table.rows_of(SPACE)(ARCHS[3]) is None


def test_keys_are_texts_even_where_they_look_like_numbers(tmp_path: Path) -> None:
    space = Space(
        "n",
        [ordinal("n", range(12))],
        notation=Notation(lambda a: f"{a['n']:03d}", lambda text: {"n": int(text)}),
    )
    table = open_table(write(tmp_path, "id,acc", "007,1", "010,2"), base=tmp_path, key="id")
    assert table.keys == ("007", "010")
    assert table.rows_of(space)(Arch({"n": 10})) == 1


def test_only_empty_and_infinite_cells_of_an_own_table_have_no_value(tmp_path: Path) -> None:
    keys = [a.key for a in ARCHS[:4]]
    lines = [f"{key},{cell}" for key, cell in zip(keys, ("1", "", "inf", "-1e8"), strict=True)]
    numbers = open_table(write(tmp_path, "key,x", *lines), base=tmp_path).numbers("x").tolist()
    assert numbers[0] == 1.0
    assert [math.isnan(number) for number in numbers] == [False, True, True, False]


def test_the_hash_of_a_table_is_that_of_its_content(tmp_path: Path) -> None:
    first = open_table(numbered(tmp_path, "key", [a.key for a in ARCHS]), base=tmp_path).hash
    (tmp_path / "other").mkdir()
    moved = open_table(
        numbered(tmp_path / "other", "key", [a.key for a in ARCHS]), base=tmp_path / "other"
    ).hash
    changed = open_table(numbered(tmp_path, "key", [a.key for a in ARCHS[1:]]), base=tmp_path).hash
    assert first == moved != changed


MISTAKES = {
    "unknown table": ("nb20", {}, "unknown table 'nb20'; did you mean 'nb201'"),
    "no file": ("nowhere.csv", {}, r"no file .*nowhere\.csv: give a path"),
    "no key": ("own.csv", {"key": "acc_"}, "has no key column 'acc_'; did you mean 'acc'"),
    "a key of its own": (
        "nb201",
        {"key": "index"},
        "table 'nb201' has a key of its own: leave key = 'index' out",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_be_opened_is_told_in_one_line(tmp_path: Path, mistake: str) -> None:
    write(tmp_path, "arch,acc", "a,1")
    name, arguments, line = MISTAKES[mistake]
    with pytest.raises(DataError, match=line) as told:
        open_table(name, base=tmp_path, **arguments)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (["arch,acc", "a,1", "b,2", "a,3"], "key 'a' 2 times: keep one row"),
        (["arch,acc"], "has 0 rows"),
        (["arch,name", "a,b"], "0 columns of numbers"),
        (["arch,acc", "a,1", ",2"], "row 1 of table 'own.csv' has no key"),
        (["arch,acc", "a,1", "b,2,3"], "is no table: ParserError"),
        ([""], "is no table: EmptyDataError"),
    ],
)
def test_a_file_that_is_no_table_is_told_in_one_line(tmp_path: Path, lines: list[str], line: str) -> None:
    with pytest.raises(DataError, match=line) as told:
        open_table(write(tmp_path, *lines), base=tmp_path)
    assert "\n" not in str(told.value)


def test_a_column_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    table = open_table(write(tmp_path, "arch,accuracy,note", "a,1,good"), base=tmp_path)
    with pytest.raises(
        DataError, match=r"no column of numbers 'acuracy'; did you mean 'accuracy'\? known: accuracy$"
    ):
        table.numbers("acuracy")


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (["arch,acc", "|x~0|,1"], r"does not fit space 'toy': its keys look like '\|x~0\|', expected"),
        (["arch,acc", '"{""depth"": 3}",1'], "does not fit space 'toy'"),
        (
            ["depth,act,acc", "1,relu,1"],
            "no column 'wide' for that choice of space 'toy': give key = ..., one of depth",
        ),
        (["depth,act,wide,acc", "7,relu,1,1"], "its columns depth, act, wide hold no architecture"),
    ],
)
def test_a_table_of_another_space_is_told_in_one_line(tmp_path: Path, lines: list[str], line: str) -> None:
    with pytest.raises(DataError, match=line) as told:
        open_table(write(tmp_path, *lines), base=tmp_path).rows_of(SPACE)
    assert "\n" not in str(told.value)


def test_hashes_find_rows_but_name_no_architectures(tmp_path: Path) -> None:
    table = open_table(numbered(tmp_path, "arch_key", [a.key for a in ARCHS]), base=tmp_path)
    with pytest.raises(DataError, match="are hashes: architectures cannot be read from them"):
        table.archs(SPACE)


def test_two_rows_of_one_architecture_are_told(tmp_path: Path) -> None:
    lines = ["depth,act,wide,acc", "1,relu,True,1", "1,relu,False,2"]  # `wide` does not matter at depth 1
    with pytest.raises(DataError, match=r"rows 0 and 1 of table 'own\.csv' are the same architecture"):
        open_table(write(tmp_path, *lines), base=tmp_path).rows_of(SPACE)


def test_a_parquet_file_is_read_or_its_reader_is_asked_for(tmp_path: Path) -> None:
    keys = [a.key for a in ARCHS]
    if importlib.util.find_spec("pyarrow") or importlib.util.find_spec("fastparquet"):
        import pandas as pd

        pd.DataFrame({"key": keys, "acc": range(len(keys))}).to_parquet(tmp_path / "own.parquet")
        table = open_table("own.parquet", base=tmp_path)
        assert table.keys == tuple(keys)
    else:
        (tmp_path / "own.parquet").write_bytes(b"PAR1")
        with pytest.raises(
            MissingExtra, match=r"own\.parquet needs a reader of Parquet: pip install pyarrow"
        ):
            open_table("own.parquet", base=tmp_path)
