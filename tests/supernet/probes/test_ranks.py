"""Rank correlations: counted by hand, and of accuracies as a search would see them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat.data import CLASSIFICATION
from nasplat.elastic import extract, recalibrate
from nasplat.errors import NasplatError
from nasplat.space import Space, ordinal
from nasplat.supernet.probes import Look, kendall, look
from nasplat.supernet.probes.ranks import RankCorrelation, sampled


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12, unique=True), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_tau_counts_pairs_in_the_same_and_in_the_opposite_order(values: list[float], seed: int) -> None:
    truth = np.random.default_rng(seed).permutation(len(values)).tolist()
    pairs = combinations(range(len(values)), 2)
    signs = [np.sign((values[i] - values[j]) * (truth[i] - truth[j])) for i, j in pairs]
    tables = ({str(i): v for i, v in enumerate(column)} for column in (values, truth))
    assert kendall(*tables) == pytest.approx(np.mean(signs))


def test_tau_is_over_what_both_tables_have() -> None:
    assert kendall({"a": 1.0, "b": 2.0, "c": 0.0}, {"b": 5.0, "a": 4.0, "d": 0.0}) == 1
    assert math.isnan(kendall({"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 1.0}))
    with pytest.raises(NasplatError, match="they share 1 of 2 and 2"):
        kendall({"a": 1.0, "b": 2.0}, {"b": 1.0, "c": 2.0})


def test_sample_is_fixed_without_repeats_and_all_of_a_small_space() -> None:
    space = Space("s", [ordinal(f"x{i}", [1, 2, 3]) for i in range(3)])
    archs = sampled(space, 16, seed=0)
    assert len(set(archs)) == 16
    assert archs == sampled(space, 16, seed=0) != sampled(space, 16, seed=1)
    assert set(sampled(space, 99, seed=0)) == set(space.enumerate())


def test_scores_are_those_of_recalibrated_subnets_and_tau_compares_with_the_last_look(
    make_look: Callable[..., Look],
) -> None:
    at = make_look()
    task = replace(
        CLASSIFICATION, score=lambda y, t: float(F.cross_entropy(y, t))
    )  # so fresh networks differ
    at, probe = replace(at, data=replace(at.data, task=task)), RankCorrelation(architectures=99)
    first = look(at, probe)
    assert first["tau"] is None
    with torch.no_grad():
        for weight in at.net.parameters():
            weight.add_(0.4 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    second = look(at, probe, first)
    validation = at.data.validation
    for arch in at.space.enumerate():
        module = extract(at.net, arch)
        recalibrate(module, at.calibration)
        with torch.no_grad():
            loss = F.cross_entropy(module.eval()(validation.inputs), validation.targets)
        assert second["score"][arch.key] == pytest.approx(float(loss))
    assert second["tau"] == pytest.approx(kendall(first["score"], second["score"]))
    assert look(at, probe, second)["tau"] == pytest.approx(1)
