"""Predictors over graphs: they learn, repeat, survive saving, ignore the order of nodes, and refuse strangers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

import nasplat
from nasplat.arguments import ArgumentError, check_arguments
from nasplat.errors import NasplatError
from nasplat.prediction import Card, Predictor, Sample, load_predictor, save_predictor
from nasplat.space import Arch, ArchGraph

NAMES = ("gcn", "gates", "graph_transformer", "operator_gnn")
OPERATIONS = ("conv", "pool", "skip")


def cell(rng: np.random.Generator, n: int) -> ArchGraph:
    """n operations between input and output; each takes from one or two before it."""
    words = ("input", *rng.choice(OPERATIONS, n).tolist(), "output")
    edges = {(int(rng.integers(node)), node) for node in range(1, n + 1) for _ in range(2)}
    ends = {(node, n + 1) for node in range(n + 1) if node not in {source for source, _ in edges}}
    return ArchGraph(words, tuple(sorted(edges | ends)))


def samples(count: int, seed: int = 0) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [
        Sample(Arch({"seed": seed, "i": i}), np.zeros(1, np.float32), cell(rng, int(rng.integers(3, 6))))
        for i in range(count)
    ]


def convolutions(pool: Sequence[Sample]) -> NDArray[np.float64]:
    """Something to learn: 70 plus the number of convolutions."""
    return np.array([70.0 + s.graph.operations.count("conv") for s in pool if s.graph])


def made(name: str, **arguments: Any) -> Predictor:
    small = {"hidden": 16, "steps": 40, "members": 2}
    found: Predictor = nasplat.load("predictors", name)(**small | arguments)
    return found


def reordered(graph: ArchGraph, rng: np.random.Generator) -> ArchGraph:
    """The same graph in another topological order."""
    left, order = set(range(len(graph.operations))), list[int]()
    while left:
        free = [node for node in left if not any(s in left and t == node for s, t in graph.edges)]
        order.append(int(rng.choice(sorted(free))))
        left.remove(order[-1])
    place = {node: i for i, node in enumerate(order)}
    edges = tuple((place[s], place[t]) for s, t in graph.edges)
    return ArchGraph(tuple(graph.operations[node] for node in order), edges)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_to_count_convolutions_better_than_from_shuffled_targets(name: str) -> None:
    train, held_out = samples(60), samples(60, seed=1)
    y, truth = convolutions(train), convolutions(held_out)
    learned, control = (
        made(name, steps=150, members=1).fit(train, targets).predict(held_out).mean
        for targets in (y, np.random.default_rng(1).permutation(y))
    )
    assert spearmanr(learned, truth)[0] > max(0.6, 0.15 + abs(spearmanr(control, truth)[0]))
    assert abs(learned.mean() - truth.mean()) < 1  # in the unit of the targets


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_nodes_does_not_matter(name: str) -> None:
    pool, rng = samples(20), np.random.default_rng(5)
    predictor = made(name).fit(pool, convolutions(pool))
    moved = [Sample(s.arch, s.encoding, reordered(s.graph, rng)) for s in pool if s.graph]
    assert any(a.graph != b.graph for a, b in zip(pool, moved, strict=True))
    np.testing.assert_allclose(predictor.predict(moved).mean, predictor.predict(pool).mean, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_company_does_not_change_a_prediction(name: str) -> None:
    pool = samples(20)
    predictor = made(name).fit(pool, convolutions(pool))
    small = min(pool, key=lambda s: len(s.graph.operations) if s.graph else 0)
    alone, together = predictor.predict([small]), predictor.predict([*pool, small])
    assert together.mean[-1] == pytest.approx(alone.mean[0], abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_give_equal_predictors_and_leave_the_random_state(name: str) -> None:
    pool = samples(20)
    before = torch.get_rng_state()
    one, two, other = (made(name).fit(pool, convolutions(pool), seed=s).predict(pool).mean for s in (3, 3, 4))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_predictor_predicts_the_same_to_the_last_bit(name: str, tmp_path: Any) -> None:
    pool = samples(20)
    predictor = made(name, loss="relation").fit(pool, convolutions(pool))
    card = Card(name, "cells", "0", "accuracy", "%", "maximize", "made up", 20, 70, 75, "none", "0")
    save_predictor(predictor, card, tmp_path)
    again, _ = load_predictor(tmp_path)
    assert again.arguments == predictor.arguments
    for field in ("mean", "std"):
        assert np.array_equal(getattr(again.predict(pool), field), getattr(predictor.predict(pool), field))


@pytest.mark.parametrize("name", NAMES)
def test_strangers_are_refused_in_one_line(name: str) -> None:
    pool = samples(6)
    with pytest.raises(NasplatError, match="call fit first"):
        made(name).predict(pool)
    predictor = made(name, steps=2).fit(pool, convolutions(pool))
    stranger = ArchGraph(("input", "attention", "output"), ((0, 1), (1, 2)))
    with pytest.raises(NasplatError, match="'attention' was not learned"):
        predictor.predict([Sample(Arch({"i": 0}), np.zeros(1, np.float32), stranger)])
    with pytest.raises(NasplatError, match="has no graph"):
        predictor.predict([Sample(Arch({"i": 0}), np.zeros(1, np.float32))])
    with pytest.raises(NasplatError, match="target 2 is nan"):
        predictor.fit(pool, [1, 2, float("nan"), 4, 5, 6])
    with pytest.raises(NasplatError, match="6 samples and targets of shape"):
        predictor.fit(pool, [1, 2])


@pytest.mark.parametrize("name", NAMES)
def test_a_study_file_may_set_its_arguments(name: str) -> None:
    factory = nasplat.load("predictors", name)
    assert check_arguments(factory, {"loss": "kendall", "hidden": 32}, name) == {
        "loss": "kendall",
        "hidden": 32,
    }
    with pytest.raises(ArgumentError, match="loss"):
        check_arguments(factory, {"loss": "huber"}, name)


def test_only_mse_has_members_that_are_not_stretched_to_the_targets() -> None:
    pool = samples(30)
    y = convolutions(pool)
    ranked, valued = (
        made("gcn", members=1, loss=loss).fit(pool, y).predict(pool) for loss in ("hinge", "mse")
    )
    assert (ranked.mean.mean(), ranked.mean.std()) == pytest.approx((y.mean(), y.std()), rel=1e-4)
    assert valued.mean.std() != pytest.approx(y.std(), rel=1e-4)
    assert not ranked.std.any()  # one member has no spread


@pytest.mark.parametrize("loss", ["hinge", "mse"])
def test_targets_without_a_difference_give_that_number(loss: str) -> None:
    pool = samples(6)
    found = made("gcn", steps=2, loss=loss).fit(pool, np.full(6, 7.0)).predict(pool)
    assert found.mean.tolist() == [7.0] * 6
    assert not found.std.any()


def test_nobody_to_judge_gives_an_empty_prediction() -> None:
    pool = samples(6)
    prediction = made("gcn", steps=1).fit(pool, convolutions(pool)).predict([])
    assert prediction.mean.shape == prediction.std.shape == (0,)


def test_eigenvectors_as_published_can_be_asked_for() -> None:
    train, held_out = samples(60), samples(60, seed=1)
    predictor = made("graph_transformer", places="eigenvectors", steps=80).fit(train, convolutions(train))
    assert spearmanr(predictor.predict(held_out).mean, convolutions(held_out))[0] > 0.8


def test_gates_need_ends_for_information_to_flow_between() -> None:
    open_end = Sample(Arch({"i": 0}), np.zeros(1, np.float32), ArchGraph(("input", "conv"), ((0, 1),)))
    with pytest.raises(NasplatError, match="has no node 'output'"):
        made("gates").fit([open_end, open_end], [1, 2])


def test_gates_hear_of_deep_graphs_and_refuse_deeper_ones() -> None:
    def chain(i: int, length: int) -> Sample:
        words = ("input", *("conv" if i >> k & 1 else "pool" for k in range(length)), "output")
        graph = ArchGraph(words, tuple((k, k + 1) for k in range(length + 1)))
        return Sample(Arch({"i": i}), np.zeros(1, np.float32), graph)

    pool = [chain(i, 8) for i in range(12)]
    predictor = made("gates").fit(pool, convolutions(pool))
    assert len(np.unique(predictor.predict(pool).mean)) > 4
    with pytest.raises(NasplatError, match="has a path of 10 edges, but the predictor has 9 layers"):
        predictor.predict([chain(0, 9)])
    open_end = Sample(Arch({"i": 0}), np.zeros(1, np.float32), ArchGraph(("input", "conv"), ((0, 1),)))
    with pytest.raises(NasplatError, match="has no node 'output'"):
        predictor.predict([*pool, open_end])


def test_gates_hear_nothing_of_operations_beside_the_path() -> None:
    pool = samples(20)
    predictor = made("gates").fit(pool, convolutions(pool))
    inner = ArchGraph(("input", "conv", "output"), ((0, 1), (1, 2)))
    beside = ArchGraph(("input", "conv", "pool", "output"), ((0, 1), (0, 2), (1, 3)))
    one, two = (
        predictor.predict([Sample(Arch({"i": 0}), np.zeros(1, np.float32), g)]).mean for g in (inner, beside)
    )
    np.testing.assert_allclose(one, two, atol=1e-4)
