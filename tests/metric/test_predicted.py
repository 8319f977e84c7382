"""Trained predictors as metrics, alone and in a study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nasplat import load
from nasplat.data import load_data
from nasplat.errors import NasplatError
from nasplat.metric import Candidate, Cost, Workbench, make_metric
from nasplat.plugins import load as load_plugin
from nasplat.prediction import Card, Predictor, describe, save_predictor
from nasplat.scoring import score

DIGITS = load_data("digits")
SPACE = load("spaces", "nasbench201")(channels=4, cells=1, input_shape=(1, 8, 8), classes=10)
ARCHS = [SPACE.sample(np.random.default_rng(i)) for i in range(20)]
WORTH = np.array([sum("conv" in str(word) for word in arch.values()) for arch in ARCHS], float)
PAGE = Card("forest", SPACE.name, SPACE.hash, "acc", "%", "maximize", "", 20, 0.0, 6.0, "none", "")


def trained(folder: Path, card: Card = PAGE) -> Predictor:
    """A forest; where the card names a score, it reads that alone, made up for training."""
    inputs = ["scores"] if card.scores else ["graph"]
    made_up = {a.key: dict.fromkeys(card.scores, 10.0 * w) for a, w in zip(ARCHS, WORTH, strict=True)}
    predictor = load_plugin("predictors", "forest")(inputs=inputs, trees=10)
    predictor.fit(describe(SPACE, ARCHS, made_up), WORTH)
    save_predictor(predictor, card, folder)
    return predictor


def test_the_value_is_the_predicted_mean_and_the_spread_is_normal(tmp_path: Path) -> None:
    predictor, bench = trained(tmp_path / "mine"), Workbench(SPACE)
    metric = make_metric("predicted:mine", {}, bench, tmp_path)
    assert (metric.name, metric.unit, metric.direction, metric.cost) == (
        "predicted:mine",
        "%",
        "maximize",
        Cost.COUNT,
    )
    arch = SPACE.sample(np.random.default_rng(99))
    found, expected = metric.measure(Candidate(arch, bench)), predictor.predict(describe(SPACE, [arch]))
    assert (found.value, found.status) == (float(expected.mean[0]), "ok")
    assert found.spread == pytest.approx(1.349 * float(expected.std[0]))


def test_scores_that_it_reads_are_those_of_the_engine(tmp_path: Path) -> None:
    predictor = trained(tmp_path / "mine", replace(PAGE, scores=("l2_norm",), batch=8, data="digits"))
    bench = Workbench(SPACE, DIGITS)
    metric = make_metric("predicted:mine", {}, bench, tmp_path)
    arch = SPACE.sample(np.random.default_rng(99))
    images, labels = DIGITS.train.inputs[:8], DIGITS.train.targets[:8]
    scores = {"l2_norm": score(SPACE.build(arch, bench.seed), images, labels, ["l2_norm"])["l2_norm"].value}
    expected = predictor.predict(describe(SPACE, [arch], {arch.key: scores}))
    assert metric.measure(Candidate(arch, bench)).value == float(expected.mean[0])
    assert metric.cost == Cost.SCORE


def test_scores_need_data(tmp_path: Path) -> None:
    trained(tmp_path / "mine", replace(PAGE, scores=("l2_norm",)))
    with pytest.raises(NasplatError, match="'predicted:mine' needs data"):
        make_metric("predicted:mine", {}, Workbench(SPACE), tmp_path)


def test_scores_on_other_data_are_refused(tmp_path: Path) -> None:
    trained(tmp_path / "mine", replace(PAGE, scores=("l2_norm",), data="cifar10"))
    with pytest.raises(NasplatError, match="reads scores on data 'cifar10', but this study has 'digits'"):
        make_metric("predicted:mine", {}, Workbench(SPACE, DIGITS), tmp_path)


def test_a_predictor_without_scores_does_not_mind_the_data(tmp_path: Path) -> None:
    trained(tmp_path / "mine", replace(PAGE, data="cifar10"))
    assert make_metric("predicted:mine", {}, Workbench(SPACE, DIGITS), tmp_path).cost == Cost.COUNT


def test_another_space_is_refused(tmp_path: Path) -> None:
    trained(tmp_path / "mine")
    other = Workbench(load("spaces", "nasbench201")())
    with pytest.raises(NasplatError, match="learned from space 'nasbench201'"):
        make_metric("predicted:mine", {}, other, tmp_path)


def test_weights_are_part_of_the_origin(tmp_path: Path) -> None:
    trained(tmp_path / "mine")
    before = make_metric("predicted:mine", {}, Workbench(SPACE), tmp_path).origin
    save_predictor(
        load_plugin("predictors", "forest")(inputs=["graph"], trees=10).fit(describe(SPACE, ARCHS), -WORTH),
        PAGE,
        tmp_path / "mine",
    )
    after = make_metric("predicted:mine", {}, Workbench(SPACE), tmp_path).origin
    assert before["weights"] != after["weights"]
