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


MINE = """
[study]
name = "mine"
trials = 10
[space]
name = "toy.py:BARE"
[sampler]
name = "random"
[[objective]]
metric = "toy.py:cost"
direction = "minimize"
"""


def test_a_pool_from_a_table_tells_a_new_device(nasplat: Nasplat, folder: Path) -> None:
    (folder / "study.toml").write_text(MINE)
    rows = [f"{a},{b},{1 + a * a + 3 * b},{8 * a * a + b}" for a in range(1, 7) for b in range(1, 7)]
    (folder / "devices.csv").write_text("\n".join(["a,b,gpu_1,gpu_8", *rows]) + "\n")
    nasplat("run", folder)
    what = ("fit", "pool", folder, "--table", folder / "devices.csv", "--devices", "gpu_*")
    made = nasplat(*what, "-o", folder / "pool")
    assert (made.code, made.err) == (0, "")
    assert "learned 2 devices from 72 latencies" in made.out
    new = ("fit", "predictor", folder, "--metric", "toy.py:cost", "-o", folder / "mine")
    said = nasplat(*new, "--pool", folder / "pool")
    assert "fitted latency_transfer on 10 architectures" in said.out
    card = json.loads(nasplat(*new, "--pool", folder / "pool", "--json").out)
    program, *words = shlex.split(card["command"])
    assert (program, json.loads(nasplat(*words, "--json").out)) == ("nasplat", card)
    missing = nasplat(*new, "--predictor", "latency_transfer")
    assert (missing.code, len(missing.err.strip().splitlines())) == (1, 1)
    assert "begins with a pool of known devices: give --pool" in missing.err


def test_blocks_of_a_space_are_measured_and_checked(nasplat: Nasplat, folder: Path) -> None:
    said = nasplat(
        "fit", "blocks", folder, "--networks", 12, "--check", 1, "--threads", 1, "-o", folder / "table"
    )
    assert (said.code, said.err) == (0, "")
    assert "additive_error" in said.out
    assert f'metric = "predicted:{folder / "table"}"' in said.out


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
