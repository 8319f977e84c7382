"""`nasplat fit predictor`: what it prints, and how it ends."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Nasplat = Callable[..., Any]


def test_it_says_how_good_the_predictor_is_and_how_to_name_it(nasplat: Nasplat, folder: Path) -> None:
    nasplat("run", folder)
    what = (
        "fit",
        "predictor",
        folder,
        "--metric",
        "toy.py:gain",
        "--predictor",
        "ridge",
        "-o",
        folder / "gain",
    )
    said = nasplat(*what)
    assert said.code == 0
    assert "fitted ridge on 12 architectures" in said.out
    assert f'metric = "predicted:{folder / "gain"}"' in said.out
    card = json.loads(nasplat(*what, "--json").out)
    assert card["labels"] == 12
    assert f"{card['figures']['kendall_tau']:.4g}" in said.out


def test_it_shows_how_many_architectures_are_scored_unless_a_machine_reads(
    nasplat: Nasplat, folder: Path
) -> None:
    page = folder / "study.toml"
    page.write_text(page.read_text() + '\n[data]\nname = "toy.py:parity"\n')
    nasplat("run", folder)
    what = ("fit", "predictor", folder, "--metric", "toy.py:gain", "--predictor", "ridge")
    said = nasplat(*what, "--scores", "synflow", "-o", folder / "gain")
    assert [line.split()[0] for line in said.out.splitlines()[:12]] == [f"{n}/12" for n in range(1, 13)]
    json.loads(nasplat(*what, "--scores", "nwot", "-o", folder / "gain", "--json").out)


def test_the_command_of_the_card_makes_the_same_predictor_again(nasplat: Nasplat, folder: Path) -> None:
    nasplat("run", folder)
    what = ("fit", "predictor", folder, "--metric", "toy.py:gain", "--predictor", "forest")
    chosen = ("--arguments", '{"trees": 3, "inputs": ["encoding"]}', "--batch", 8, "-o", folder / "a b")
    card = json.loads(nasplat(*what, *chosen, "--json").out)
    weights = (folder / "a b" / "weights.safetensors").read_bytes()
    (folder / "a b" / "weights.safetensors").unlink()
    program, *words = shlex.split(card["command"])
    again = json.loads(nasplat(*words, "--json").out)
    assert (program, again) == ("nasplat", card)
    assert (folder / "a b" / "weights.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--metric", "toy.py:gain", "--arguments", "{]"), "--arguments {]"),
        (("--metric", "toy.py:gain", "--arguments", "[1]"), "expected a JSON object"),
        (
            ("--metric", "toy.py:gain", "--predictor", "forest", "--arguments", '{"tree": 3}'),
            "has no key 'tree'",
        ),
        (("--metric", "latency"), "the study does not measure 'latency'"),
        (("--metric", "toy.py:gain", "--predictor", "synflow"), "'synflow' is a Score, not a predictor"),
    ],
)
def test_mistakes_are_one_line(
    nasplat: Nasplat, folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    nasplat("run", folder)
    said = nasplat("fit", "predictor", folder, *arguments, "-o", folder / "out")
    assert said.code == 1
    assert message in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert not (folder / "out").exists()
