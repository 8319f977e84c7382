"""Fitting a predictor on a study: honest figures, a card with its origin, and files that a study can name."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasplat import Study
from nasplat.errors import NasplatError
from nasplat.prediction import describe, load_predictor
from nasplat.prediction.making import make_predictor
from nasplat.study import assembly
from nasplat.study.fit import Order, fit_predictor

WriteStudy = Callable[..., Study]
COST = 'metric = "toy.py:cost"\ndirection = "minimize"'


def test_the_predictor_learns_the_metric_and_comes_back_from_its_files(
    write_study: WriteStudy, tmp_path: Path
) -> None:
    study = write_study(study="trials = 60", objective=COST)
    study.run()
    card = study.fit("ridge", "toy.py:cost", tmp_path / "ridge")
    predictor, kept = load_predictor(tmp_path / "ridge")
    assert kept == card
    values = study.frame["toy.py:cost"]
    assert (card.labels, card.low, card.high) == (60, values.min(), values.max())
    assert card.figures["kendall_tau"] > 0.8
    space = assembly.assemble(study).bench.space
    archs = list(space.enumerate())
    truth = np.array([arch["a"] ** 2 + arch["b"] for arch in archs], float)
    away = np.abs(predictor.predict(describe(space, archs)).mean - truth)
    assert away.mean() < 0.3 * np.abs(truth - truth.mean()).mean()


def test_figures_are_those_of_networks_that_were_held_out(write_study: WriteStudy, tmp_path: Path) -> None:
    noise = 'metric = "toy.py:gain"\ndirection = "maximize"'
    study = write_study(study="trials = 40", objective=noise)
    study.run()
    card = study.fit("forest", "toy.py:gain", tmp_path / "forest", trees=10)
    assert 0 < card.figures["kendall_tau"] < 1
    assert math.isfinite(card.figures["mae"])


TWINS = """
import hashlib

from nasplat import Space, categorical
from nasplat.space import Notation


def space():
    # twenty functions, each spelled in four ways
    choices = [categorical("function", range(20)), categorical("way", range(4))]
    return Space("twins", choices, notation=Notation(function_key=lambda arch: str(arch["function"])))


def noise(candidate) -> float:
    # says nothing of one function by the others
    return hashlib.sha256(bytes([candidate.arch["function"]])).digest()[0] / 255
"""


def test_figures_do_not_know_a_network_by_its_twins(write_study: WriteStudy, tmp_path: Path) -> None:
    study = write_study(
        study="trials = 80",
        space='name = "twins.py:space"',
        objective='metric = "twins.py:noise"\ndirection = "maximize"',
    )
    (study.folder / "twins.py").write_text(TWINS)
    study.run()
    card = study.fit("forest", "twins.py:noise", tmp_path / "forest", trees=10)
    assert card.labels == 80
    assert card.figures["kendall_tau"] < 0.2  # with twins in other folds: above 0.8


def test_the_page_names_the_predictor_as_a_metric(write_study: WriteStudy) -> None:
    study = write_study(study="trials = 40", objective=COST)
    study.run()
    study.fit("ridge", "toy.py:cost", study.folder / "ridge")
    again = write_study(
        study="trials = 5",
        folder="again",
        objective='metric = "predicted:../study/ridge"\ndirection = "minimize"',
    )
    again.run()
    assert len(again.front()) == 1
    frame = again.frame
    predictor, _ = load_predictor(study.folder / "ridge")
    space = assembly.assemble(again).bench.space
    archs = {arch.key: arch for arch in space.enumerate()}
    told = predictor.predict(describe(space, [archs[key] for key in frame["arch_key"]])).mean
    np.testing.assert_allclose(frame["predicted:../study/ridge"], told, rtol=1e-6)


@pytest.mark.parametrize(
    ("metric", "plug_in", "message"),
    [
        ("toy.py:gain", "ridge", "the study does not measure 'toy.py:gain'; it measures: toy.py:cost"),
        ("toy.py:cost", "nwot", "'nwot'"),
        ("toy.py:cost", "rigde", "did you mean 'ridge'"),
        ("toy.py:cost", "toy.py:SPACE", "predictor 'toy.py:SPACE' is code by its place"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    write_study: WriteStudy, tmp_path: Path, metric: str, plug_in: str, message: str
) -> None:
    study = write_study(study="trials = 12", objective=COST)
    study.run()
    with pytest.raises(NasplatError, match=message):
        study.fit(plug_in, metric, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("space", "data", "arguments", "line"),
    [
        (
            "SPACE",
            False,
            {},
            r"the study has no \[data\] that scores could see: fit without scores nwot,snip",
        ),
        ("BARE", True, {}, "space 'bare' has no networks whose scores could be read"),
        ("SPACE", True, {"inputs": ["encoding"]}, "predictor 'ridge' with these arguments reads no scores"),
    ],
)
def test_scores_that_nothing_would_read_are_refused(
    write_study: WriteStudy, tmp_path: Path, space: str, data: bool, arguments: dict[str, Any], line: str
) -> None:
    rest = '[data]\nname = "toy.py:parity"' if data else ""
    study = write_study(rest, space=f'name = "toy.py:{space}"', objective=COST)
    study.run()
    order = Order("ridge", "toy.py:cost", arguments, ("nwot", "snip"))
    with pytest.raises(NasplatError, match=line):
        fit_predictor(study, order, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_scores_that_could_not_be_named_again_are_refused(write_study: WriteStudy, tmp_path: Path) -> None:
    study = write_study('[data]\nname = "toy.py:parity"', objective=COST)
    study.run()
    with pytest.raises(NasplatError, match=r"score 'toy\.py:SCORE' is code by its place"):
        fit_predictor(study, Order("ridge", "toy.py:cost", scores=("toy.py:SCORE",)), tmp_path / "out")


@pytest.mark.parametrize("where", ["fit", "state"])
def test_what_a_plug_in_raises_is_one_line(
    write_study: WriteStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("no\nsuch column")

    study = write_study(study="trials = 12", objective=COST)
    study.run()
    monkeypatch.setattr(type(make_predictor("ridge", {})), where, broken)
    with pytest.raises(
        NasplatError, match=r"predictor 'ridge' fails to (fit|give its state): KeyError: "
    ) as told:
        study.fit("ridge", "toy.py:cost", tmp_path / "out")
    assert len(str(told.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_too_few_labels_are_refused(write_study: WriteStudy, tmp_path: Path) -> None:
    study = write_study(study="trials = 4", objective=COST)
    study.run()
    with pytest.raises(NasplatError, match="known of 4 architectures; expected at least 10"):
        study.fit("ridge", "toy.py:cost", tmp_path)


def test_a_graph_predictor_sees_the_networks_of_a_space_without_graphs(
    write_study: WriteStudy, tmp_path: Path
) -> None:
    study = write_study(study="trials = 20", objective=COST)
    study.run()
    study.fit("gates", "toy.py:cost", tmp_path / "gates", steps=40, members=1)
    again = write_study(
        study="trials = 2",
        folder="again",
        objective=f'metric = "predicted:{tmp_path / "gates"}"\ndirection = "minimize"',
    )
    again.run()
    assert again.frame["state"].eq("complete").all()
