"""parzc: it learns from layers, in every form of its network, and refuses samples without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import nasplat
from nasplat.errors import NasplatError
from nasplat.prediction import Predictor, Sample
from nasplat.space import Arch

FORMS: list[dict[str, Any]] = [
    {},
    {"align": "name"},
    {"bayesian": True, "loss": "diffkendall"},
    {"network": "mixer"},
    {"network": "mixer", "bayesian": True, "loss": "kendall"},
]


def made(**arguments: Any) -> Predictor:
    found: Predictor = nasplat.load("predictors", "parzc")(**{"steps": 60, "members": 2} | arguments)
    return found


def pool(count: int, seed: int) -> tuple[list[Sample], np.ndarray]:
    """Networks of 3 to 5 layers whose synflow spans orders of magnitude; the target is the sum of its logarithms."""
    rng = np.random.default_rng(seed)
    found, y = [], []
    for i in range(count):
        flow = np.exp(rng.normal(20, 10, int(rng.integers(3, 6))))
        noise = rng.normal(size=len(flow))
        layers = {
            "synflow": {f"m{k}": float(v) for k, v in enumerate(flow)},
            "plain": {f"m{k}": float(v) for k, v in enumerate(noise)},
        }
        found.append(Sample(Arch({"i": i}), np.zeros(1, np.float32), None, {}, layers))
        y.append(float(np.log(flow).sum()))
    return found, np.array(y)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_learns_a_sum_over_layers(form: dict[str, Any]) -> None:
    (train, y), (held_out, truth) = pool(60, 0), pool(40, 1)
    predictor = made(**form).fit(train, y)
    assert spearmanr(predictor.predict(held_out).mean, truth)[0] > 0.8


@pytest.mark.parametrize("form", [{}, {"bayesian": True}])
def test_predictions_repeat_and_survive_saving_to_the_last_bit(form: dict[str, Any]) -> None:
    train, y = pool(20, 0)
    predictor = made(**form).fit(train, y, seed=1)
    state = torch.get_rng_state()
    first = predictor.predict(train)
    assert np.array_equal(first.mean, predictor.predict(train).mean)
    assert torch.equal(torch.get_rng_state(), state)
    again = made(**form).restore(*predictor.state())
    assert np.array_equal(again.predict(train).mean, first.mean)
    assert np.array_equal(made(**form).fit(train, y, seed=1).predict(train).mean, first.mean)


@pytest.mark.parametrize("loss", ["mse", "relation"])
def test_one_stochastic_member_has_the_spread_of_its_passes(loss: str) -> None:
    train, y = pool(8, 0)
    found, doubled = (
        made(bayesian=True, loss=loss, steps=5, members=1).fit(train, unit * y).predict(train)
        for unit in (1, 2)
    )
    assert (found.std > 0).all()
    np.testing.assert_allclose(doubled.std, 2 * found.std, rtol=1e-4)
    assert not made(loss=loss, steps=5, members=1).fit(train, y).predict(train).std.any()


def test_stochastic_weights_differ_between_passes_of_training_only() -> None:
    train, y = pool(8, 0)
    predictor = made(bayesian=True, steps=1, members=1)
    form = predictor.learn(train)  # type: ignore[attr-defined]
    inputs = predictor.read(train, form)  # type: ignore[attr-defined]
    network = predictor.network(form)  # type: ignore[attr-defined]
    assert torch.equal(network.eval()(**inputs), network(**inputs))
    for part in network.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0
    assert not torch.equal(network.train()(**inputs), network(**inputs))
    assert len(y) == len(network(**inputs))


@pytest.mark.parametrize("align", ["place", "name"])
def test_a_score_without_values_is_zero_at_the_modules_of_the_others(align: str) -> None:
    train, y = pool(8, 0)
    plain = {"m0": 1.0, "m1": 2.0}
    dead, zeros = (
        Sample(Arch({"i": 9}), np.zeros(1, np.float32), None, {}, {"synflow": flow, "plain": plain})
        for flow in ({}, {"m0": 0.0, "m1": 0.0})
    )
    predictor = made(align=align, steps=5).fit([*train, dead], [*y, 0.0])
    assert np.array_equal(predictor.predict([dead]).mean, predictor.predict([zeros]).mean)
    silent = Sample(dead.arch, dead.encoding, None, {}, {"synflow": {}, "plain": {}})
    with pytest.raises(NasplatError, match="has no values of any score by layer"):
        predictor.predict([silent])


def test_a_score_that_no_network_has_by_module_is_not_learned() -> None:
    train, y = pool(6, 0)
    whole = [Sample(s.arch, s.encoding, None, {}, {**s.layers, "nwot": {}}) for s in train]
    predictor = made(steps=2).fit(whole, y)
    assert np.array_equal(predictor.predict(whole).mean, predictor.predict(train).mean)


def test_samples_without_layers_or_known_modules_are_refused() -> None:
    train, y = pool(6, 0)
    bare = Sample(Arch({"i": 0}), np.zeros(1, np.float32))
    with pytest.raises(NasplatError, match="has no values of any score by layer"):
        made().fit([bare, bare], [1, 2])
    predictor = made(align="name", steps=1).fit(train, y)
    with pytest.raises(NasplatError, match="has no values of plain by layer"):
        predictor.predict([bare])
    other = Sample(bare.arch, bare.encoding, None, {}, {"synflow": {"x": 1.0}, "plain": {"x": 1.0}})
    with pytest.raises(NasplatError, match="has no module that was learned"):
        predictor.predict([other])
