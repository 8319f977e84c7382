"""The rows of a table as a space, in a study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nasplat import open_study
from nasplat.conformance import SPACE_PROMISES, check_space
from nasplat.errors import NasplatError
from nasplat.plugins import load
from nasplat.space import Space, categorical, ordinal

rows = load("spaces", "rows")
NETWORKS = {"running networks", "repeatable networks"}


@pytest.fixture
def published(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASPLAT_DATA", str(real_data))


@pytest.mark.parametrize("promise", [promise for promise in SPACE_PROMISES if promise not in NETWORKS])
@pytest.mark.parametrize("table", ["nb101", "transnas_macro/class_scene"])
@pytest.mark.usefixtures("published")
def test_rows_keep_every_promise_of_a_space_that_needs_no_network(table: str, promise: str) -> None:
    assert check_space(rows, only=promise, table=table) == []


@pytest.mark.usefixtures("published")
def test_rows_of_a_published_table_are_those_of_its_space() -> None:
    space = rows(table="nb101")
    assert (space.name, space.size) == ("nasbench101", 500)
    assert [c.name for c in space.choices] == [c.name for c in load("spaces", "nasbench101")().choices]


@pytest.mark.usefixtures("published")
def test_a_table_with_a_space_of_other_arguments_is_taken_with_them() -> None:
    space = rows(table="pooling", arguments={"input_shape": (3, 32, 32), "classes": 10})
    assert space.size == 36
    assert space.build(space.smallest(), seed=1).state_dict().keys()


def test_rows_without_a_space_say_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("depth,acc\n1,0.5\n")
    with pytest.raises(NasplatError, match=r"rows of 'own.csv' need a space: give space = "):
        rows(table="own.csv", base=tmp_path)


def test_files_lie_beside_the_study(tmp_path: Path) -> None:
    whole = Space("toy", [ordinal("depth", (1, 2, 3)), categorical("act", ("relu", "gelu"))])
    archs = list(whole.enumerate())[:4]
    lines = ["depth,act,acc", *(f"{a['depth']},{a['act']},{i}" for i, a in enumerate(archs))]
    (tmp_path / "own.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "mine.py").write_text(
        "from nasplat import Space, categorical, ordinal\n\n\ndef make():\n"
        "    return Space('toy', [ordinal('depth', (1, 2, 3)), categorical('act', ('relu', 'gelu'))])\n"
    )
    (tmp_path / "study.toml").write_text(
        'study = { name = "t", trials = 9 }\nspace = { name = "rows", table = "own.csv", space = "mine.py:make" }\n'
        'objective = [{ metric = "table:own.csv/acc", direction = "maximize" }]\n'
    )
    study = open_study(tmp_path)
    summary = study.run()
    assert summary.states == {"complete": 4}
    assert "exhausted" in summary.ended
    assert study["best:table:own.csv/acc"].arch == archs[3].to_json()


PAGE = """
study = {{ name = "t", trials = 2 }}
space = {{ name = "rows", table = "{table}", space = "nasbench201", arguments = {{ {arguments} }} }}
data = {{ name = "digits" }}
objective = [{{ metric = "table:{table}/acc", direction = "maximize" }}, {{ metric = "params" }}]
"""


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A folder with a table of three cells of NAS-Bench-201."""
    words = load("spaces", "nasbench201")().notation.spell
    archs = [load("spaces", "nasbench201")().sample(np.random.default_rng(i)) for i in range(3)]
    lines = ["arch,acc", *(f"{words(arch)},{i}" for i, arch in enumerate(archs))]
    (tmp_path / "cells.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_rows_have_the_networks_of_their_space(cells: Path) -> None:
    arguments = "channels = 4, cells = 1, input_shape = [1, 8, 8], classes = 10"
    (cells / "study.toml").write_text(PAGE.format(table="cells.csv", arguments=arguments))
    study = open_study(cells)
    told = study.profile(samples=2)
    least, _, most = told["smallest, median, largest"]["params"]
    assert 0 < least <= most
    study.run()
    assert study.frame["params"].between(1, most).all()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"chanels": 4}, "arguments of space 'nasbench201' has no key 'chanels'; did you mean 'channels'"),
        ({"channels": "4"}, "arguments of space 'nasbench201' channels = '4'"),
    ],
)
def test_a_wrong_argument_of_the_space_is_told_in_one_line(
    cells: Path, arguments: dict[str, object], line: str
) -> None:
    with pytest.raises(NasplatError, match=line) as told:
        rows(table="cells.csv", space="nasbench201", arguments=arguments, base=cells)
    assert "\n" not in str(told.value)
