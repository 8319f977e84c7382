"""operator_gnn: scores of layers and of networks inform it, and it goes on from one table to another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import nasplat
from nasplat.errors import NasplatError
from nasplat.prediction import Predictor, Sample
from nasplat.prediction.operators import operator_graph
from nasplat.space import Arch, ArchGraph

CHAIN = ArchGraph(("input", "conv", "conv", "output"), ((0, 1), (1, 2), (2, 3)), ("", "a", "b", ""))


def made(**arguments: Any) -> Predictor:
    small = {"hidden": 16, "steps": 80, "members": 1, "rounds": 2}
    found: Predictor = nasplat.load("predictors", "operator_gnn")(**small | arguments)
    return found


def pool(count: int, seed: int, place: str) -> tuple[list[Sample], np.ndarray]:
    """Equal graphs that differ in a score alone: of layer "b", or of the whole."""
    values = np.random.default_rng(seed).lognormal(0, 3, count)
    layers = [{"snip": {"a": 1.0, "b": float(v)}} if place == "layer" else {} for v in values]
    scores = [{"nwot": float(v)} if place == "whole" else {} for v in values]
    rows = enumerate(zip(layers, scores, strict=True))
    return [Sample(Arch({"i": i}), np.zeros(1, np.float32), CHAIN, s, x) for i, (x, s) in rows], np.log(
        values
    )


@pytest.mark.parametrize("place", ["layer", "whole"])
def test_scores_of_layers_and_of_networks_are_heard(place: str) -> None:
    (train, y), (held_out, truth) = pool(60, 0, place), pool(40, 1, place)
    assert spearmanr(made().fit(train, y).predict(held_out).mean, truth)[0] > 0.95


@pytest.mark.parametrize(("place", "missing"), [("layer", "layer-wise score snip"), ("whole", "score nwot")])
def test_a_sample_without_what_was_learned_is_refused(place: str, missing: str) -> None:
    train, y = pool(6, 0, place)
    predictor = made(steps=2).fit(train, y)
    with pytest.raises(NasplatError, match=f"has no {missing}"):
        predictor.predict([Sample(Arch({"i": 0}), np.zeros(1, np.float32), CHAIN)])


@pytest.mark.parametrize("place", ["layer", "whole"])
def test_a_score_that_was_computed_and_has_no_value_is_no_reason_to_refuse(place: str) -> None:
    train, y = pool(6, 0, place)
    found: dict[str, Any] = (
        {"layers": {"snip": {}}} if place == "layer" else {"scores": {"nwot": float("nan")}}
    )
    dead = Sample(Arch({"i": 9}), np.zeros(1, np.float32), CHAIN, **found)
    predictor = made(steps=2).fit([*train, dead], [*y, 0.0])
    assert np.isfinite(predictor.predict([dead]).mean).all()
    with pytest.raises(NasplatError, match="which the predictor learned from"):
        predictor.predict([Sample(dead.arch, dead.encoding, CHAIN)])


def test_scores_that_it_may_read_are_among_its_needs() -> None:
    assert made().needs == {"graph", "scores", "layers"}


def small_net(width: int, kernel: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, kernel, 1, kernel // 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 2),
    )


def test_it_reads_networks_traced_into_operations() -> None:
    rng = np.random.default_rng(0)
    widths = rng.integers(2, 40, 40)
    graphs = [
        operator_graph(small_net(int(w), int(rng.choice([1, 3]))), torch.zeros(1, 3, 6, 6)) for w in widths
    ]
    traced = [Sample(Arch({"i": i}), np.zeros(1, np.float32), graph) for i, graph in enumerate(graphs)]
    predictor = made(steps=120).fit(traced[:30], widths[:30])
    assert spearmanr(predictor.predict(traced[30:]).mean, widths[30:])[0] > 0.9


def test_a_warm_predictor_goes_on_where_a_cold_one_starts_anew() -> None:
    (first, y), (second, z), (held_out, truth) = (
        pool(60, 0, "layer"),
        pool(8, 1, "layer"),
        pool(40, 2, "layer"),
    )
    errors = {}
    for warm in (True, False):
        predictor = made(warm=warm, loss="mse", steps=120).fit(first, y)
        predictor.recipe = replace(predictor.recipe, steps=3)  # type: ignore[attr-defined]
        errors[warm] = np.abs(predictor.fit(second, z).predict(held_out).mean - truth).mean()
    assert errors[True] < errors[False] / 2


def test_a_warm_predictor_adds_words_and_scores_and_keeps_what_it_knew() -> None:
    first, y = pool(20, 0, "layer")
    predictor = made(warm=True, steps=20).fit(first, y)
    old = predictor.state()[0]["0.words.weight"]
    graph = ArchGraph(("input", "attention", "output"), ((0, 1), (1, 2)))
    strangers = [Sample(Arch({"i": i}), np.zeros(1, np.float32), graph, {"nwot": float(i)}) for i in range(6)]
    predictor.recipe = replace(predictor.recipe, steps=0)  # type: ignore[attr-defined]
    arrays, rest = predictor.fit(strangers, range(6)).state()
    assert rest["form"]["words"] == ["conv", "input", "output", "attention"]
    assert list(rest["form"]["wholes"]) == ["log_nodes", "score nwot"]
    assert np.array_equal(arrays["0.words.weight"][:, :3], old)
    assert not arrays["0.wholes.weight"][:, 2:].any()  # a new number says nothing before it is learned
