"""`nasplat score`: what it prints, and how it ends."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Nasplat = Callable[..., Any]

NET = """
from torch import nn


def NET():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 3))
"""


def with_data(folder: Path) -> Path:
    page = folder / "study.toml"
    page.write_text(page.read_text() + '\n[data]\nname = "toy.py:parity"\n')
    return folder


def test_table_json_and_csv_of_a_study_agree(nasplat: Nasplat, folder: Path) -> None:
    what = ("score", with_data(folder), "--scores", "synflow,nwot", "--samples", 3)
    table = nasplat(*what).out
    objects = json.loads(nasplat(*what, "--json").out)
    rows = list(csv.DictReader(io.StringIO(nasplat(*what, "--csv").out)))
    assert [row["arch_key"] for row in rows] == [row["arch_key"] for row in objects]
    assert [float(row["synflow"]) for row in rows] == [row["synflow"] for row in objects]
    assert all(row["arch_key"] in table for row in rows)


def test_an_aggregate_orders_the_rows(nasplat: Nasplat, folder: Path) -> None:
    what = (
        "score",
        with_data(folder),
        "--scores",
        "synflow,nwot",
        "--samples",
        6,
        "--rank",
        "vote",
        "--json",
    )
    votes = [row["vote"] for row in json.loads(nasplat(*what).out)]
    assert votes == sorted(votes, reverse=True)
    assert len(votes) == 6


MINE = """
from nasplat.scoring import Score

def units(evidence):
    return float(sum(p.numel() for p in evidence.model.parameters())), {}

SCORE = Score("synflow", "minimize", frozenset({"data"}), "none", "our own", units)
"""


def test_a_score_from_a_file_beside_the_study_keeps_its_name_and_direction(
    nasplat: Nasplat, folder: Path
) -> None:
    (with_data(folder) / "mine.py").write_text(MINE)
    what = ("score", folder, "--scores", "synflow,mine.py:SCORE", "--samples", 3, "--rank", "mean_rank")
    rows = json.loads(nasplat(*what, "--json").out)
    assert json.loads(nasplat(*what, "--json").out) == rows
    assert all(row["synflow"] != row["mine.py:SCORE"] == int(row["mine.py:SCORE"]) for row in rows)
    alone = ("score", folder, "--scores", "mine.py:SCORE", "--samples", 3, "--rank", "mean_rank", "--json")
    sizes = [row["mine.py:SCORE"] for row in json.loads(nasplat(*alone).out)]
    assert sizes == sorted(sizes)


def test_a_module_is_scored_without_a_study(nasplat: Nasplat, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    what = ("score", f"{tmp_path / 'net.py'}:NET", "--scores", "synflow", "--json")
    said = nasplat(*what, "--shape", "3x2x2", "--classes", 3)
    (row,) = json.loads(said.out)
    assert (row["score"], row["status"], row["direction"]) == ("synflow", "ok", "maximize")


def test_mistakes_are_one_line(nasplat: Nasplat, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    net = f"{tmp_path / 'net.py'}:NET"
    for arguments, message in {
        (with_data(folder), "--scores", "synflw"): "did you mean 'synflow'",
        (net, "--shape", "3xx"): "expected numbers joined by x",
        (net, "--rank", "vote"): "give it a study, not one module",
        (net, "--samples", 3, "--trials"): "is one module, not a study: leave out --samples and --trials",
        (net, "--data", "digits", "--shape", "3x2x2"): "--data digits gives the inputs: leave out --shape",
        (net, "--workers", 2): "is one module, not a study: leave out --workers",
        (net, "--device", "tpu"): "device 'tpu' is unknown; choose 'cpu', 'cuda', 'cuda:0' or 'auto'",
        (folder, "--device", "cuda:99"): "device 'cuda:99' is not here",
        (folder, "--workers", 0): "workers = 0: expected at least 1 process",
        (folder, "--classes", 3): "is a study, not a module: leave out --classes",
        (folder, "--trials", "--samples", 3): "--trials names the architectures: leave out --samples",
    }.items():
        said = nasplat("score", *arguments)
        assert said.code == 1
        assert message in said.err
        assert len(said.err.strip().splitlines()) == 1
