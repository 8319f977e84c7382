"""Columns of tables as metrics, alone and in a study."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasplat import Arch, NasplatError, Space, categorical, open_study, ordinal
from nasplat.arguments import ArgumentError
from nasplat.metric import Candidate, Cost, Measurement, Workbench, make_metric

SPACE = Space("toy", [ordinal("depth", (1, 2, 3)), categorical("act", ("relu", "gelu"))])
ARCHS = list(SPACE.enumerate())


@pytest.fixture
def bench() -> Workbench:
    return Workbench(SPACE)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Five of six architectures; one has no value."""
    lines = [f"{a.key},{'' if i == 1 else i},{10 - i}" for i, a in enumerate(ARCHS[:5])]
    (tmp_path / "own.csv").write_text("\n".join(["arch_key,acc,ms", *lines]) + "\n")
    return tmp_path


def measure(bench: Workbench, base: Path, arch: Arch, column: str = "acc") -> Measurement:
    return make_metric(f"table:own.csv/{column}", {}, bench, base).measure(Candidate(arch, bench))


def test_the_value_is_the_cell_of_the_architecture_and_no_network_is_built(
    bench: Workbench, own: Path
) -> None:
    assert [measure(bench, own, a, "ms").value for a in ARCHS[:5]] == [
        10,
        9,
        8,
        7,
        6,
    ]  # the space has no builder


def test_an_architecture_without_a_row_and_an_empty_cell_have_no_value_but_a_reason(
    bench: Workbench, own: Path
) -> None:
    missing, empty = measure(bench, own, ARCHS[5]), measure(bench, own, ARCHS[1])
    assert (missing.value, missing.status, empty.value, empty.status) == (None, "failed", None, "failed")
    assert missing.reason == ('architecture {"act":"gelu","depth":3} is not in the table own.csv (5 rows)')
    assert empty.reason == "acc is empty in row 1 of the table own.csv, or holds what stands for no value"


def test_unit_and_key_of_an_own_table_are_arguments_and_its_direction_is_open(
    bench: Workbench, own: Path
) -> None:
    metric = make_metric("table:own.csv/ms", {"unit": "ms", "key": "arch_key"}, bench, own)
    assert (metric.name, metric.unit, metric.direction, metric.cost) == (
        "table:own.csv/ms",
        "ms",
        None,
        Cost.LOOKUP,
    )


def test_a_look_up_is_asked_before_all_else() -> None:
    assert min(Cost) is Cost.LOOKUP


def test_the_origin_is_the_content_of_the_file_the_column_and_the_unit(bench: Workbench, own: Path) -> None:
    before = make_metric("table:own.csv/acc", {}, bench, own).origin
    assert before != make_metric("table:own.csv/ms", {}, bench, own).origin
    assert before == make_metric("table:own.csv/acc", {"unit": "1"}, bench, own).origin
    assert before != make_metric("table:own.csv/acc", {"unit": "%"}, bench, own).origin
    with (own / "own.csv").open("a") as file:
        file.write(f"{ARCHS[5].key},1,1\n")
    assert before != make_metric("table:own.csv/acc", {}, bench, own).origin


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("table:nb201", {}, "metric 'table:nb201' names no column: write table:NAME/COLUMN"),
        ("table:transnas_micro/jigsaw", {}, "names no column"),
        ("table:own.csv", {}, "names no column"),
        ("table:nb2O1/acc", {}, "unknown table 'nb2O1'; did you mean 'nb201'"),
        ("table:own.csv/ac", {}, "no column of numbers 'ac'; did you mean 'acc'"),
        ("table:own.csv/acc", {"keys": "x"}, "has no key 'keys'; did you mean 'key'"),
        ("table:own.csv/acc", {"key": "name"}, "has no key column 'name'"),
    ],
)
def test_mistakes_are_told_in_one_line(
    bench: Workbench, own: Path, name: str, arguments: dict[str, str], line: str
) -> None:
    with pytest.raises((NasplatError, ArgumentError), match=line) as told:
        make_metric(name, arguments, bench, own)
    assert "\n" not in str(told.value)


def test_a_published_column_has_its_unit_and_direction_and_does_not_fit_every_space(
    bench: Workbench, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASPLAT_DATA", str(real_data))
    with pytest.raises(NasplatError, match="table 'nb101' does not fit space 'toy'"):
        make_metric("table:nb101/val_accuracy", {}, bench)
    from nasplat import load

    cells = Workbench(load("spaces", "nasbench101")())
    metric = make_metric("table:nb101/val_accuracy", {}, cells)
    assert (metric.unit, metric.direction) == ("%", "maximize")
    with pytest.raises(NasplatError, match="is in '%': leave unit = 'ms' out"):
        make_metric("table:nb101/val_accuracy", {"unit": "ms"}, cells)


PAGE = """
study = {{ name = "t", trials = {trials} }}
space = {space}
sampler = {{ name = "random" }}
objective = [{objectives}]
constraint = [{constraints}]
"""


def study(folder: Path, **parts: object) -> Path:
    (folder / "study.toml").write_text(PAGE.format(**{"constraints": "", **parts}))
    return folder


def test_a_study_finds_the_front_of_a_published_table_without_data_or_networks(
    tmp_path: Path, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASPLAT_DATA", str(real_data))
    objectives = '{ metric = "table:nb201/c10_valid_e200" }, { metric = "table:nb201/1080ti_1" }'
    cheap = '{ metric = "table:nb201/c10_valid_e12", min = 60 }'  # twelve epochs before two hundred
    parts = {
        "trials": 30,
        "space": '{ name = "nasbench201" }',
        "objectives": objectives,
        "constraints": cheap,
    }
    opened = open_study(study(tmp_path, **parts))
    opened.run()
    trials = opened.frame
    assert (trials["state"] == "complete").sum() == 30
    dropped = trials[trials["state"] == "dropped"]
    assert len(dropped) > 0
    front = opened.front()
    assert front["table:nb201/c10_valid_e12"].min() >= 60
    names = ["table:nb201/c10_valid_e200", "table:nb201/1080ti_1"]
    points = trials.loc[trials["state"] == "complete", names].itertuples(index=False)
    good = {(a, t) for a, t in points}
    best = {p for p in good if not any(q != p and q[0] >= p[0] and q[1] <= p[1] for q in good)}
    assert set(front[names].itertuples(index=False, name=None)) == best


def test_a_table_beside_the_study_gives_its_values_and_fails_trials_beside_its_rows(
    tmp_path: Path, own: Path
) -> None:
    (own / "space.py").write_text(
        "from nasplat import Space, categorical, ordinal\n\n\ndef SPACE():\n"
        "    return Space('toy', [ordinal('depth', (1, 2, 3)), categorical('act', ('relu', 'gelu'))])\n".replace(
            "\\\n", "\n"
        )
    )
    objective = '{ metric = "table:own.csv/ms", unit = "ms", direction = "minimize" }'
    opened = open_study(study(own, trials=6, space='{ name = "space.py:SPACE" }', objectives=objective))
    summary = opened.run()
    assert (summary.states["complete"], summary.failed) == (5, 1)
    assert opened.front()["table:own.csv/ms"].tolist() == [6.0]
    (failed,) = [t for t in opened.store.trials(opened.record.id) if t.state == "failed"]
    assert "is not in the table own.csv" in (failed.error or "")
