"""`nasplat zoo`: what it trains, what it prints, and how it ends."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

Nasplat = Callable[..., Any]
SMALL = ("--count", 4, "--steps", "1-2")


def test_a_zoo_is_trained_shown_and_not_trained_again(nasplat: Nasplat, tmp_path: Path) -> None:
    typed = ("zoo", "train", "digits", *SMALL, "--families", "norm,mlp", "-o", tmp_path)
    first, again = nasplat(*typed), nasplat(*typed)
    assert (first.code, again.code) == (0, 0)
    assert "4/4 networks" in first.out
    assert "4/4 networks" not in again.out
    assert "4 of 4 networks" in " ".join(again.out.split())
    found = json.loads(nasplat("zoo", "show", tmp_path, "--json").out)
    assert found["networks"] == 4
    assert [row["family"] for row in found["families"]] == ["norm", "mlp"]
    assert found["origin"]["settings"]["steps"] == [1, 2]
    rows = list(csv.DictReader(io.StringIO(nasplat("zoo", "show", tmp_path, "--csv").out)))
    with (tmp_path / "results.csv").open() as file:
        listed = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == [row["number"] for row in listed] == ["0", "2", "1", "3"]


def test_sirens_are_fitted(nasplat: Nasplat, tmp_path: Path) -> None:
    said = nasplat("zoo", "sirens", "digits", "--count", 3, "--steps", 2, "--width", 4, "-o", tmp_path)
    assert said.code == 0
    assert "psnr_db" in said.out
    assert json.loads((tmp_path / "zoo.json").read_text())["settings"]["form"]["width"] == 4


def test_an_interrupted_zoo_ends_with_130_and_says_how_to_go_on(
    nasplat: Nasplat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nasplat.zoo.train_zoo", interrupt)
    said = nasplat("zoo", "train", "digits", *SMALL, "-o", tmp_path)
    assert said.code == 130
    assert "same command" in said.err


def test_state_dicts_are_shown_with_those_that_do_not_fit(nasplat: Nasplat, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\n\n\ndef NET():\n    return nn.Linear(4, 3)\n")
    save_file(nn.Linear(4, 3).state_dict(), tmp_path / "one.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "two.safetensors")
    said = nasplat("zoo", "show", tmp_path, "--module", f"{tmp_path}/net.py:NET")
    assert said.code == 0
    assert "1 of 2 networks" in " ".join(said.out.split())
    assert "skipped two.safetensors: 1 tensors are missing, such as 'bias'" in said.out


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("train", "digits", "--steps", "few"), "40-400"),
        (("train", "digits", "--families", "plane"), "did you mean 'plain'"),
        (("train", "digit"), "did you mean 'digits'"),
        (("train", "digits", "--arguments", "[1]"), "--arguments"),
        (("train", "digits", "--device", "cuda:99"), "cuda:99"),
        (("sirens", "digits", "--frequency", "0"), "frequency"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    nasplat: Nasplat, tmp_path: Path, typed: tuple[str, ...], said: str
) -> None:
    found = nasplat("zoo", *typed, "-o", tmp_path / "new")
    assert found.code == 1
    assert found.err.count("\n") == 1
    assert said in found.err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("options", [(), ("--table", "facts.csv")])
def test_showing_what_is_no_zoo_is_one_line(
    nasplat: Nasplat, tmp_path: Path, options: tuple[str, ...]
) -> None:
    found = nasplat("zoo", "show", tmp_path, *options)
    assert found.code == 1
    assert "--module" in found.err
    assert found.err.count("\n") == 1


def test_the_networks_most_like_one_are_shown_with_their_distances(nasplat: Nasplat, tmp_path: Path) -> None:
    made = nasplat(
        "zoo", "train", "digits", "--count", "6", "--families", "mlp", "--steps", "1", "-o", tmp_path
    )
    assert made.code == 0
    found = nasplat("zoo", "like", tmp_path, "2", "--count", "3", "--json")
    rows = json.loads(found.out)
    assert len(rows) == 3
    assert 2 not in [row["network"] for row in rows]
    assert [row["distance"] for row in rows] == sorted(row["distance"] for row in rows)
    refused = nasplat("zoo", "like", tmp_path, "6")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "choose 0 to 5" in refused.err
