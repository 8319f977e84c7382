"""Predictors of trained networks: they learn, repeat, survive saving, ignore the order of neurons, refuse strangers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

import nasplat
from nasplat.arguments import ArgumentError, check_arguments
from nasplat.channels.graph import ParameterGraph
from nasplat.channels.structure import GraphStructure
from nasplat.errors import NasplatError
from nasplat.prediction import Card, Predictor, Sample, load_predictor, save_predictor
from nasplat.space import Arch

from ..metanet.by_hand import CNN, DEPTHWISE, filled, permuted, structure

FEW: dict[str, dict[str, Any]] = {
    "metanet": {"width": 8, "layers": 1, "epochs": 15, "batch": 32, "rate": 1e-2},
    "deepsets_weights": {"width": 16, "epochs": 100},
    "statnn": {"model": "ridge"},
    "flat_weights": {"model": "ridge"},
}
ANY_FORM = ("metanet", "deepsets_weights", "statnn")
CHAIN, OTHER = structure(CNN), structure(DEPTHWISE, norms=True)


def made(name: str, **more: Any) -> Predictor:
    found: Predictor = nasplat.load("predictors", name)(**FEW[name] | more)
    return found


def samples(
    count: int, seed: int = 0, form: GraphStructure = CHAIN
) -> tuple[list[Sample], NDArray[np.float64]]:
    """Networks whose weights have different sizes, and the logarithm of that size, in percent."""
    sizes = np.random.default_rng(seed).normal(size=count)
    many = [filled(form, seed=1000 * seed + i, dtype=torch.float32) for i in range(count)]
    graphs = [
        ParameterGraph(form, {n: t if "n." in n else t * float(np.exp(s)) for n, t in g.tensors.items()})
        for g, s in zip(many, sizes, strict=True)
    ]
    return [sample(graph, i) for i, graph in enumerate(graphs)], 70 + sizes


def sample(graph: ParameterGraph | None, i: int = 0) -> Sample:
    return Sample(Arch({"i": i}), np.zeros(1, np.float32), weights=graph)


@pytest.mark.parametrize("name", ["metanet", "deepsets_weights", "statnn"])
def test_it_learns_how_large_weights_are(name: str) -> None:
    train, y = samples(120)
    held_out, truth = samples(40, seed=1)
    found = made(name, **({"model": "forest"} if name == "statnn" else {})).fit(train, y).predict(held_out)
    assert spearmanr(found.mean, truth)[0] > 0.85
    assert abs(found.mean.mean() - truth.mean()) < 0.5  # in the unit of the targets
    assert found.std.shape == (40,)


@pytest.mark.parametrize("name", ANY_FORM)
def test_the_order_of_neurons_does_not_matter(name: str) -> None:
    train, y = samples(30)
    predictor = made(name).fit(train, y)
    moved = [sample(permuted(s.weights, seed=i)[0]) for i, s in enumerate(train) if s.weights]
    np.testing.assert_allclose(predictor.predict(moved).mean, predictor.predict(train).mean, atol=1e-3)
    np.testing.assert_allclose(predictor.embed(moved), predictor.embed(train), atol=1e-3)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ANY_FORM)
def test_it_learns_from_some_architectures_and_judges_others(name: str) -> None:
    (chains, y), (others, z) = samples(20), samples(4, form=OTHER)
    predictor = made(name).fit(chains, y)
    assert np.isfinite(predictor.predict(others).mean).all()
    mixed = [others[0], *chains[:3], others[1]]
    together, alone = predictor.predict(mixed).mean, [predictor.predict([s]).mean[0] for s in mixed]
    np.testing.assert_allclose(together, alone, atol=1e-3)
    both = made(name).fit([*chains, *others], [*y, *z]).predict(others)
    assert np.isfinite(both.mean).all()


@pytest.mark.parametrize("name", FEW)
def test_equal_seeds_give_equal_predictors_and_leave_the_random_state(name: str) -> None:
    train, y = samples(20)
    before = torch.get_rng_state()
    one, two, other = (made(name).fit(train, y, seed=s).predict(train).mean for s in (3, 3, 4))
    assert np.array_equal(one, two)
    assert FEW[name].get("model") == "ridge" or not np.array_equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", FEW)
def test_a_saved_predictor_predicts_the_same_to_the_last_bit(name: str, tmp_path: Path) -> None:
    train, y = samples(20)
    more: dict[str, Any] = {} if "model" in FEW[name] else {"members": 2, "epochs": 2}
    more |= {"poolings": ["max", "deviation"]} if name == "metanet" else {}
    predictor = made(name, **more).fit(train, y)
    card = Card(name, "chains", "0", "accuracy", "%", "maximize", "made up", 20, 70, 75, "none", "0")
    save_predictor(predictor, card, tmp_path)
    again, _ = load_predictor(tmp_path)
    assert again.arguments == predictor.arguments == json.loads(json.dumps(predictor.arguments))
    for field in ("mean", "std"):
        assert np.array_equal(getattr(again.predict(train), field), getattr(predictor.predict(train), field))


@pytest.mark.parametrize("name", FEW)
def test_strangers_are_refused_in_one_line(name: str) -> None:
    train, y = samples(6)
    with pytest.raises(NasplatError, match="call fit first"):
        made(name).predict(train)
    predictor = made(name, **({} if "model" in FEW[name] else {"epochs": 1})).fit(train, y)
    with pytest.raises(NasplatError, match="has no weights"):
        predictor.predict([sample(None)])
    broken = {**filled(CHAIN).tensors, "l1.bias": torch.full((6,), float("nan"))}
    with pytest.raises(NasplatError, match=r"not finite in 'l1.bias'"):
        predictor.predict([sample(ParameterGraph(CHAIN, broken))])
    with pytest.raises(NasplatError, match="target 2 is nan"):
        predictor.fit(train, [1, 2, float("nan"), 4, 5, 6])
    with pytest.raises(NasplatError, match="6 samples and targets of shape"):
        predictor.fit(train, [1, 2])


@pytest.mark.parametrize("name", FEW)
def test_what_it_reads_is_what_it_needs(name: str) -> None:
    assert made(name).needs == {"weights"}


@pytest.mark.parametrize("name", FEW)
def test_nobody_to_judge_gives_an_empty_prediction(name: str) -> None:
    train, y = samples(6)
    found = made(name).fit(train, y).predict([])
    assert found.mean.shape == found.std.shape == (0,)


@pytest.mark.parametrize("name", FEW)
def test_targets_without_a_difference_give_that_number(name: str) -> None:
    train, _ = samples(6)
    found = made(name).fit(train, np.full(6, 7.0)).predict(train)
    np.testing.assert_allclose(found.mean, 7.0)


@pytest.mark.parametrize(("name", "more"), [("flat_weights", {}), ("statnn", {"per": "tensor"})])
def test_columns_of_one_form_are_not_asked_about_another(name: str, more: dict[str, Any]) -> None:
    train, y = samples(6)
    others, z = samples(2, form=OTHER)
    predictor = made(name, **more).fit(train, y)
    with pytest.raises(NasplatError, match="has another form than the networks learned from"):
        predictor.predict(others)
    with pytest.raises(NasplatError, match="has another form"):
        predictor.fit([*train, *others], [*y, *z])


def test_flat_weights_may_be_learned_by_a_perceptron() -> None:
    train, _ = samples(200)
    y = np.array([float(s.weights.tensors["l1.weight"].sum().tanh()) for s in train if s.weights])
    found = made("flat_weights", model="perceptron").fit(train[:150], y[:150]).predict(train[150:])
    assert spearmanr(found.mean, y[150:])[0] > 0.6


def test_networks_of_another_size_are_refused_or_the_reach_is_longer() -> None:
    train, y = samples(6)
    large = sample(filled(structure((("conv", 40, (3, 3)), ("linear", 3, ())))))
    with pytest.raises(
        NasplatError, match="has 200 edges, the networks that were learned from have 50 to 50"
    ) as error:
        made("metanet", epochs=1, reach=3.0).fit(train, y).predict([large])
    assert "\n" not in str(error.value)
    assert np.isfinite(made("metanet", epochs=1, reach=5.0).fit(train, y).predict([large]).mean).all()


@pytest.mark.parametrize("backbone", ["edge_gated", "attention"])
def test_other_backbones_and_scales_can_be_asked_for(backbone: str) -> None:
    train, y = samples(12)
    found = made("metanet", backbone=backbone, scales=True, epochs=2, members=2).fit(train, y).predict(train)
    assert np.isfinite(found.mean).all()
    assert (found.std > 0).all()  # members differ


def test_arguments_that_make_no_sense_are_refused() -> None:
    factory = nasplat.load("predictors", "metanet")
    with pytest.raises(NasplatError, match=r"unknown backbone .*did you mean .edge_gated"):
        made("metanet", backbone="edge_gate")
    with pytest.raises(NasplatError, match="width = 6: expected a multiple of 4"):
        factory(width=6)
    with pytest.raises(NasplatError, match="epochs = 0"):
        factory(epochs=0)
    with pytest.raises(NasplatError, match="poolings"):
        factory(poolings=[])
    with pytest.raises(ArgumentError, match="backbone"):
        check_arguments(factory, {"backbone": "mlp"}, "metanet")


def test_the_classifier_tells_classes_apart_and_says_how_sure_it_is(tmp_path: Path) -> None:
    train, y = samples(120)
    labels = (y > 70).astype(float) + (y > 71)
    arguments = FEW["metanet"] | {"members": 2, "epochs": 25}
    classifier = nasplat.load("predictors", "metanet_classifier")(**arguments).fit(train[:90], labels[:90])
    proba, found = classifier.predict_proba(train[90:]), classifier.predict(train[90:])
    np.testing.assert_allclose(proba.sum(1), 1.0)
    assert proba.shape == (30, 3)
    assert (found.mean == labels[90:]).mean() > 0.75
    np.testing.assert_allclose(found.std**2, proba.max(1) * (1 - proba.max(1)))
    card = Card("metanet_classifier", "chains", "0", "class", "1", "maximize", "", 90, 0, 2, "none", "0")
    save_predictor(classifier, card, tmp_path)
    again, _ = load_predictor(tmp_path)
    assert np.array_equal(again.predict_proba(train), classifier.predict_proba(train))  # type: ignore[attr-defined]
    assert classifier.predict([]).mean.shape == (0,)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 0.5], [-1, 0, 1]])
def test_classes_are_whole_numbers_from_zero(labels: list[float]) -> None:
    train, _ = samples(3)
    with pytest.raises(NasplatError, match="expected whole numbers from 0"):
        nasplat.load("predictors", "metanet_classifier")().fit(train, labels)


def test_predictors_do_not_hold_the_networks_they_read() -> None:
    train, y = samples(6)
    given = [replace(s, weights=_tracked(s.weights)) for s in train if s.weights]
    predictor = made("metanet", epochs=1).fit(given, y)
    assert all(t.grad is None for s in given if s.weights for t in s.weights.tensors.values())
    assert np.isfinite(predictor.predict(given).mean).all()


def _tracked(graph: ParameterGraph) -> ParameterGraph:
    return ParameterGraph(graph.structure, {n: t.clone().requires_grad_() for n, t in graph.tensors.items()})
