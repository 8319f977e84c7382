"""Published tables: the facts that their papers and READMEs state, read a second way where there is one."""

from __future__ import annotations

import csv
import gzip
from fnmatch import filter as filter_names
from pathlib import Path

import numpy as np
import pytest

from nasplat.errors import DataError
from nasplat.plugins import names
from nasplat.table import KNOWN, open_table

ROWS = {
    "nb201": 15_625,
    "nb201_zc/cifar10": 725,
    "nb201_zc/cifar100": 725,
    "nb101": 500,
    "nb301": 725,
    **{f"transnas_micro/{task}": 711 for task in ("jigsaw", "normal", "room_layout", "segmentsemantic")},
    "transnas_macro/class_scene": 662,
    "transnas_macro/jigsaw": 725,
    "nas_bench_graph/cora": 26_206,
    "nas_bench_graph/arxiv": 26_206,
    "nas_bench_graph/proteins": 2_021,
    "fbnet": 5_000,
    "ofa": 5_000,
    "pooling": 36,
}


@pytest.mark.parametrize("name", ROWS)
def test_a_table_has_as_many_rows_as_were_published(published: Path, name: str) -> None:
    assert len(open_table(name)) == ROWS[name]


def test_the_best_networks_of_nas_bench_201_are_the_published_two(published: Path) -> None:
    table = open_table("nb201")
    accuracy = table.numbers("c10_test_e200")
    best = np.flatnonzero(accuracy == accuracy.max())
    assert (round(float(accuracy.max()), 2), float(accuracy.min())) == (94.37, 10.0)
    assert table.frame["index"].iloc[best].tolist() == [6111, 13714]
    cell = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
    assert cell in {table.keys[row] for row in best}


def test_latencies_are_joined_to_the_accuracies_by_the_index_of_the_architecture(published: Path) -> None:
    table = open_table("nb201")
    with gzip.open(published / "nb201" / "nb201_latency_ms.csv.gz", "rt") as file:
        by_index = {row["index"]: float(row["pixel3"]) for row in csv.DictReader(file)}
    with gzip.open(published / "nb201" / "nb201_accuracy.csv.gz", "rt") as file:
        expected = [by_index[row["index"]] for row in csv.DictReader(file)]
    assert table.numbers("pixel3").tolist() == expected
    assert expected[0] == 3.60585  # as the README of HW-NAS-Bench prints it


def test_cells_that_hold_no_value_are_nan_whatever_stands_there(published: Path) -> None:
    table = open_table("nb201")
    assert (
        np.isfinite(table.numbers("edgetpu")).sum() == 1_999 - 259
    )  # not supported, beside rows never measured
    assert np.isnan(table.numbers("zen_c10")).sum() == 341  # -1e8: no path from input to output
    scores = open_table("nb201_zc/cifar10")
    assert not np.isinf(scores.numbers("nwot")).any()
    assert np.isnan(open_table("transnas_micro/normal").numbers("epe_nas")).all()  # a task without classes


@pytest.mark.parametrize(("data", "best"), [("cora", 0.83133), ("arxiv", 0.72386), ("proteins", 0.79263)])
def test_the_best_graph_networks_have_the_published_performance(
    published: Path, data: str, best: float
) -> None:
    assert open_table(f"nas_bench_graph/{data}").numbers("perf").max() == pytest.approx(best, abs=5e-6)


def test_columns_have_the_unit_and_the_better_end_of_what_they_hold(published: Path) -> None:
    nb201, graph = open_table("nb201"), open_table("nas_bench_graph/cora")
    units = {name: (c.unit, c.direction) for name, c in {**nb201.facts, **graph.facts}.items()}
    assert units["c100_valid_e12"] == units["c10_test_e200"] == ("%", "maximize")
    assert units["1080ti_1"] == units["eyeriss"] == units["vpu_oneproxy"] == ("ms", "minimize")
    assert units["macs"] == units["params"] == ("1", "minimize")
    assert (units["perf"], units["latency_s"]) == (("1", "maximize"), ("s", "minimize"))
    assert not {"index", "arch_str", "hash", "link"} & units.keys()
    assert open_table("transnas_macro/jigsaw").column("val_accuracy").unit == "%"
    assert open_table("transnas_macro/normal").column("val_accuracy").unit == "1"


def test_stored_scores_have_no_better_end_since_it_differs_from_table_to_table(published: Path) -> None:
    signs = set()
    for name in ("nb201_zc/cifar10", "transnas_micro/class_scene"):
        table = open_table(name)
        assert table.column("plain").direction is None
        plain, accuracy = table.numbers("plain"), table.numbers("val_accuracy")
        signs.add(float(np.sign(np.corrcoef(plain.argsort().argsort(), accuracy.argsort().argsort())[0, 1])))
    assert signs == {-1.0, 1.0}


@pytest.mark.parametrize("name", KNOWN)
def test_every_kind_of_column_of_a_known_table_is_there(published: Path, name: str) -> None:
    table = open_table(name)
    absent = {pattern for pattern, *_ in KNOWN[name].kinds if not filter_names(table.facts, pattern)}
    lacking = "nwot" if name == "nb101" else "synflow" if name.startswith("transnas") else ""
    assert absent <= {lacking}  # scores that NAS-Bench-Suite-Zero has not stored for this space


def test_known_tables_are_of_built_in_spaces() -> None:
    assert {known.space for known in KNOWN.values() if known.space} <= set(names("spaces"))


def test_without_the_data_one_line_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NASPLAT_DATA", raising=False)
    with pytest.raises(DataError, match="set NASPLAT_DATA to the folder"):
        open_table("nb201")
    monkeypatch.setenv("NASPLAT_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"needs .*nb101_zc\.csv\.gz, which is no file"):
        open_table("nb101")
