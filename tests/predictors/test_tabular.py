"""ridge, forest, boosting and blend: one role, kept without pickle, and better than chance."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

import nasplat as nas
from nasplat.arguments import check_arguments
from nasplat.errors import NasplatError
from nasplat.prediction import Card, Predictor, Sample, describe, load_predictor, save_predictor

SPACE = nas.load("spaces", "nasbench201")()
WORTH = {"nor_conv_3x3": 3.0, "nor_conv_1x1": 2.0, "avg_pool_3x3": 0.5, "skip_connect": 1.0, "none": 0.0}
FEW: dict[str, dict[str, Any]] = {
    "ridge": {},
    "forest": {"trees": 20},
    "boosting": {"trees": 60, "members": 2},
    "blend": {"trees": 20},
}


def samples(n: int, seed: int, space: Any = SPACE) -> tuple[list[Sample], np.ndarray]:
    """Architectures, and numbers that their operations are worth; a score says some of it."""
    rng = np.random.default_rng(seed)
    archs = [space.sample(rng) for _ in range(n)]
    worth = np.array([sum(WORTH[str(word)] for word in arch.values()) for arch in archs])
    noisy = worth + rng.normal(size=n)
    scores = {a.key: {"half": float(v)} for a, v in zip(archs, noisy, strict=True)}
    return describe(space, archs, scores), worth


TRAINING, TARGETS = samples(60, 0)
NEW, TRUTH = samples(80, 1)


def made(name: str, **more: Any) -> Predictor:
    factory: Callable[..., Predictor] = nas.load("predictors", name)
    return factory(**check_arguments(factory, FEW[name] | more, name))


@pytest.mark.parametrize("name", FEW)
def test_it_ranks_new_architectures(name: str) -> None:
    found = made(name).fit(TRAINING, TARGETS).predict(NEW)
    assert kendalltau(found.mean, TRUTH).statistic > 0.4
    assert found.std.shape == found.mean.shape == (80,)
    assert (found.std >= 0).all()


@pytest.mark.parametrize("name", FEW)
def test_equal_seeds_give_equal_predictors(name: str) -> None:
    first, second, other = (made(name).fit(TRAINING, TARGETS, seed=s).predict(NEW) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.mean, second.mean)
    assert name == "ridge" or (first.mean != other.mean).any()


@pytest.mark.parametrize("name", FEW)
def test_targets_may_be_in_any_unit(name: str) -> None:
    found = made(name).fit(TRAINING, TARGETS).predict(NEW)
    eightfold = made(name).fit(TRAINING, 8 * TARGETS).predict(NEW)
    np.testing.assert_allclose(eightfold.mean, 8 * found.mean, rtol=1e-9)
    np.testing.assert_allclose(eightfold.std, 8 * found.std, rtol=1e-9)


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("inputs", [None, ["encoding"], ["graph"], ["scores"], ["encoding", "scores"]])
def test_a_stored_predictor_answers_as_before(name: str, inputs: list[str] | None, tmp_path: Path) -> None:
    predictor = made(name, **({} if inputs is None else {"inputs": inputs})).fit(TRAINING[:20], TARGETS[:20])
    save_predictor(predictor, card(name), tmp_path)
    again, read = load_predictor(tmp_path)
    before, after = predictor.predict(NEW), again.predict(NEW)
    np.testing.assert_array_equal(after.mean, before.mean)
    np.testing.assert_array_equal(after.std, before.std)
    assert read == card(name)
    assert again.arguments == predictor.arguments == json.loads(json.dumps(predictor.arguments))


@pytest.mark.parametrize("name", FEW)
def test_what_it_reads_is_what_it_needs(name: str) -> None:
    assert made(name).needs == {"encoding", "graph", "scores"}
    assert made(name, inputs=["graph"]).needs == {"graph"}


@pytest.mark.parametrize("name", FEW)
def test_asking_before_learning_is_refused(name: str) -> None:
    with pytest.raises(NasplatError, match="call fit first"):
        made(name).predict(NEW)
    assert made(name).fit(TRAINING, TARGETS).predict([]).mean.shape == (0,)


@pytest.mark.parametrize("name", FEW)
def test_targets_without_a_difference_give_that_number(name: str) -> None:
    found = made(name).fit(TRAINING, np.full(len(TRAINING), 7.0)).predict(NEW)
    np.testing.assert_allclose(found.mean, 7.0)


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("count", [2, 3, 4])
def test_two_samples_are_enough_to_be_asked_about_them(name: str, count: int) -> None:
    targets = np.arange(count, dtype=float)
    found = made(name).fit(TRAINING[:count], targets).predict(TRAINING[:count])
    assert np.isfinite([found.mean, found.std]).all()
    assert (found.mean >= -1).all()
    assert (found.mean <= count).all()


@pytest.mark.parametrize("name", FEW)
def test_seeds_may_be_of_any_size(name: str) -> None:
    first, second = (made(name).fit(TRAINING, TARGETS, seed=2**40 + s).predict(NEW) for s in (0, 1))
    assert name == "ridge" or (first.mean != second.mean).any()


def test_two_deviations_of_boosting_hold_most_new_targets() -> None:
    noisy = TARGETS + np.random.default_rng(3).normal(size=len(TARGETS))
    for members in (1, 3):
        found = made("boosting", members=members).fit(TRAINING, noisy).predict(NEW)
        new = TRUTH + np.random.default_rng(4).normal(size=len(TRUTH))
        assert (np.abs(found.mean - new) < 1.96 * found.std).mean() > 0.85


def test_a_blend_keeps_the_order_beyond_its_training_targets() -> None:
    low = np.argsort(TARGETS)[:30]
    found = made("blend", inputs=["graph"]).fit([TRAINING[i] for i in low], TARGETS[low]).predict(NEW)
    assert len(np.unique(found.mean)) > 60


def test_a_prior_from_another_target_helps_where_labels_are_few(tmp_path: Path) -> None:
    save_predictor(made("blend").fit(TRAINING, 5 * TARGETS**2), card("blend"), tmp_path / "prior")
    few = slice(0, 8)
    alone = made("blend", inputs=["graph"]).fit(TRAINING[few], TARGETS[few])
    helped = made("blend", inputs=["graph"], prior=str(tmp_path / "prior")).fit(TRAINING[few], TARGETS[few])
    taus = [kendalltau(p.predict(NEW).mean, TRUTH).statistic for p in (alone, helped)]
    assert taus[1] > taus[0]
    save_predictor(helped, card("blend"), tmp_path / "helped")
    again, _ = load_predictor(tmp_path / "helped")
    np.testing.assert_array_equal(again.predict(NEW).mean, helped.predict(NEW).mean)


def test_a_blend_needs_what_its_prior_needs(tmp_path: Path) -> None:
    prior = made("blend", inputs=["scores"]).fit(TRAINING, TARGETS)
    save_predictor(prior, card("blend"), tmp_path / "prior")
    helped = made("blend", inputs=["graph"], prior=str(tmp_path / "prior")).fit(TRAINING, TARGETS)
    save_predictor(helped, card("blend"), tmp_path / "helped")
    again, _ = load_predictor(tmp_path / "helped")
    assert helped.needs == again.needs == {"graph", "scores"}
    with pytest.raises(NasplatError, match="no trained predictor 'nowhere'"):
        made("blend", prior="nowhere")


def test_a_prior_has_to_be_a_blend(tmp_path: Path) -> None:
    save_predictor(made("ridge").fit(TRAINING, TARGETS), card("ridge"), tmp_path)
    with pytest.raises(NasplatError, match="trained ridge: a prior has to be a blend"):
        made("blend", prior=str(tmp_path))


def card(name: str) -> Card:
    return Card(
        plug_in=name,
        space=SPACE.name,
        space_hash=SPACE.hash,
        metric="worth",
        unit="1",
        direction="maximize",
        data="",
        labels=len(TRAINING),
        low=float(TARGETS.min()),
        high=float(TARGETS.max()),
        command="none",
        commit="",
    )
