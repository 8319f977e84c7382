"""The rows of a table as a space, in a study."""

from __future__ import annotations

from pathlib import Path

import pytest

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


@pytest.mark.usefixtures("published")
def test_rows_without_a_space_say_what_to_give() -> None:
    with pytest.raises(NasplatError, match="rows of 'ofa' need a space: give space = "):
        rows(table="ofa")


def test_files_lie_beside_the_study(tmp_path: Path) -> None:
    from nasplat import open_study

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
