"""Latency predictors against planted costs, and against their own state after a trip through files."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasplat
from nasplat.errors import NasplatError
from nasplat.prediction import Card, Predictor, Sample, describe, load_predictor, save_predictor
from nasplat.space import ArchGraph, Notation, Space, categorical

PLACES = ("first", "second", "third", "fourth")
WORDS = ("none", "pool", "conv")
COSTS = {"none": 0.0, "pool": 1.0, "conv": 3.0}


def chain(arch: Any) -> ArchGraph:
    words = ("input", *(str(arch[name]) for name in PLACES), "output")
    return ArchGraph(words, tuple((i, i + 1) for i in range(len(words) - 1)))


SPACE = Space("chain", [categorical(name, WORDS) for name in PLACES], notation=Notation(graph=chain))
SHUFFLED = np.random.default_rng(0).permutation(SPACE.size)
SAMPLES = [describe(SPACE, list(SPACE.enumerate()))[i] for i in SHUFFLED]  # 81


def planted(sample: Sample, weight: float = 1.0) -> float:
    """2 ms for the whole, and the cost of each word, later ones being more expensive."""
    return 2 + weight * sum((1 + i / 4) * COSTS[str(sample.arch[name])] for i, name in enumerate(PLACES))


def paired(sample: Sample) -> float:
    """One ms less for each pair of convolutions, beside the planted costs."""
    convolutions = [name for name in PLACES if sample.arch[name] == "conv"]
    return planted(sample) - 0.5 * len(list(combinations(convolutions, 2)))


LATENCIES = np.array([planted(sample) for sample in SAMPLES])


def fresh(name: str, **arguments: Any) -> Predictor:
    predictor: Predictor = nasplat.load("predictors", name)(**arguments)
    return predictor


def shares(bias: float) -> dict[str, Any]:
    """Latencies of three devices that differ by what a convolution and a pooling cost."""
    slow = np.array([sum(sample.arch[name] == "conv" for name in PLACES) for sample in SAMPLES])
    memory = np.array([sum(sample.arch[name] == "pool" for name in PLACES) for sample in SAMPLES])
    return {
        "a": (SAMPLES, 10 * LATENCIES),
        "b": (SAMPLES, LATENCIES + bias * slow),
        "c": (SAMPLES, 3 * LATENCIES + bias * memory),
    }


@pytest.mark.parametrize("nonnegative", [False, True])
def test_a_table_gives_back_planted_differences_between_the_blocks_of_a_choice(nonnegative: bool) -> None:
    table = fresh("latency_table", ridge=0.0, nonnegative=nonnegative).fit(SAMPLES[::2], LATENCIES[::2])
    costs: dict[str, float] = table.table  # type: ignore[attr-defined]
    for i, name in enumerate(PLACES):
        for word in ("pool", "conv"):
            assert costs[f"{name}={word}"] - costs[f"{name}=none"] == pytest.approx((1 + i / 4) * COSTS[word])
    np.testing.assert_allclose(table.predict(SAMPLES).mean, LATENCIES)
    assert not nonnegative or min(costs.values()) >= 0


def test_a_table_of_measured_blocks_adds_them_to_the_base_that_is_left() -> None:
    blocks = {f"{name}={word}": (1 + i / 4) * COSTS[word] for i, name in enumerate(PLACES) for word in WORDS}
    table = fresh("latency_table", blocks=blocks)
    np.testing.assert_allclose(table.predict(SAMPLES).mean, LATENCIES - 2)
    table.fit(SAMPLES[:40], LATENCIES[:40])
    assert table.table["base"] == pytest.approx(2)  # type: ignore[attr-defined]
    np.testing.assert_allclose(table.predict(SAMPLES).mean, LATENCIES)


def test_residuals_of_a_table_are_its_standard_deviation() -> None:
    noise = np.exp(0.05 * np.random.default_rng(0).standard_normal(len(SAMPLES)))
    found = fresh("latency_table").fit(SAMPLES, LATENCIES * noise).predict(SAMPLES)
    np.testing.assert_allclose(found.std / found.mean, 0.05, rtol=0.2)


@pytest.mark.parametrize("name", ["latency_table", "latency"])
def test_two_deviations_hold_most_latencies_after_few_samples(name: str) -> None:
    inside = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        y = LATENCIES * np.exp(0.1 * rng.standard_normal(len(SAMPLES)))
        order = rng.permutation(len(SAMPLES))
        learn = [SAMPLES[i] for i in order[:16]]
        found = fresh(name, **({"pairs": False} if name == "latency" else {})).fit(learn, y[order[:16]])
        asked = found.predict([SAMPLES[i] for i in order[16:]])
        inside.append((np.abs(asked.mean - y[order[16:]]) < 1.96 * asked.std).mean())
    assert 0.88 < np.mean(inside) <= 1


def test_errors_of_a_table_are_those_of_tables_that_were_fitted_to_the_others() -> None:
    y = LATENCIES[:24] * np.exp(0.1 * np.random.default_rng(0).standard_normal(24))
    errors = []
    for i in range(24):
        others = [k for k in range(24) if k != i]
        rest = fresh("latency_table", ridge=0.0).fit([SAMPLES[k] for k in others], y[others])
        errors.append(1 - rest.predict([SAMPLES[i]]).mean[0] / y[i])
    found = fresh("latency_table", ridge=0.0).fit(SAMPLES[:24], y).predict(SAMPLES)
    np.testing.assert_allclose(found.std / found.mean, np.sqrt(np.mean(np.square(errors))), rtol=1e-6)


def test_costs_of_pairs_are_learned_where_blocks_are_not_enough() -> None:
    y = np.array([paired(sample) for sample in SAMPLES])
    order = np.random.default_rng(0).permutation(len(y))
    known, unknown = order[:60], order[60:]
    learn = [SAMPLES[i] for i in known]
    ask = [SAMPLES[i] for i in unknown]
    worst = {
        pairs: np.abs(
            fresh("latency", pairs=pairs, tolerance=0.02).fit(learn, y[known]).predict(ask).mean / y[unknown]
            - 1
        ).max()
        for pairs in (True, False)
    }
    assert worst[True] < 0.01 < worst[False]


def test_slow_periods_do_not_move_the_default_predictor() -> None:
    rng = np.random.default_rng(1)
    slow = np.where(rng.random(len(SAMPLES)) < 0.3, 2.0, 1.0)
    found = fresh("latency").fit(SAMPLES, LATENCIES * slow * np.exp(0.01 * rng.standard_normal(len(slow))))
    assert (np.abs(found.predict(SAMPLES).mean / LATENCIES - 1) < 0.1).mean() > 0.95
    table = fresh("latency_table").fit(SAMPLES, LATENCIES * slow)
    assert (np.abs(table.predict(SAMPLES).mean / LATENCIES - 1) < 0.1).mean() < 0.9


def test_a_prediction_lies_between_two_modes_that_are_both_within_reach() -> None:
    modes = np.where(np.arange(len(SAMPLES)) * 7 % 10 < 4, 1.15, 1.0)
    found = fresh("latency", pairs=False).fit(SAMPLES, LATENCIES * modes).predict(SAMPLES)
    assert (np.abs(found.mean / (LATENCIES * modes) - 1) <= 0.1).mean() > 0.95


def test_messages_between_operations_learn_what_a_table_cannot() -> None:
    y = np.array([paired(sample) for sample in SAMPLES])
    table = fresh("latency_table").fit(SAMPLES, y).predict(SAMPLES).mean
    graph = fresh("latency_gnn", members=1, steps=300).fit(SAMPLES, y).predict(SAMPLES).mean
    assert np.abs(graph / y - 1).mean() < 0.5 * np.abs(table / y - 1).mean()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("latency_table", {"blocks": {f"{name}={word}": 1.0 for name in PLACES for word in WORDS}}),
        ("latency_table", {"nonnegative": True}),
        ("latency", {"tolerance": 0.05}),
        ("latency_gnn", {"steps": 5, "members": 2}),
        ("latency_transfer", {"pairs": True}),
    ],
)
def test_a_saved_predictor_predicts_the_same(name: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    predictor = fresh(name, **arguments)
    if name == "latency_transfer":
        predictor.pretrain(shares(2.0))  # type: ignore[attr-defined]
    predictor.fit(SAMPLES[:40], LATENCIES[:40], seed=3)
    card = Card(
        name, SPACE.name, SPACE.hash, "latency", "ms", "minimize", "planted", 40, 2.0, 20.0, "pytest", "0"
    )
    save_predictor(predictor, card, tmp_path)
    again, _ = load_predictor(tmp_path)
    before, after = predictor.predict(SAMPLES), again.predict(SAMPLES)
    np.testing.assert_array_equal(before.mean, after.mean)
    np.testing.assert_array_equal(before.std, after.std)
    assert again.arguments == predictor.arguments


@pytest.mark.parametrize("name", ["latency_table", "latency", "latency_transfer"])
def test_predictions_do_not_depend_on_the_order_of_what_is_asked(name: str) -> None:
    predictor = fresh(name)
    if name == "latency_transfer":
        predictor.pretrain(shares(2.0))  # type: ignore[attr-defined]
    predictor.fit(SAMPLES[:30], LATENCIES[:30])
    order = np.random.default_rng(0).permutation(len(SAMPLES))
    turned = predictor.predict([SAMPLES[i] for i in order])
    np.testing.assert_allclose(turned.mean, predictor.predict(SAMPLES).mean[order], rtol=1e-12)


@pytest.mark.parametrize("name", ["latency_table", "latency_transfer"])
def test_the_order_of_training_samples_does_not_matter(name: str) -> None:
    found = []
    for order in (np.arange(20), np.arange(20)[::-1]):
        predictor = fresh(name)
        if name == "latency_transfer":
            predictor.pretrain(shares(2.0))  # type: ignore[attr-defined]
        learned = predictor.fit([SAMPLES[i] for i in order], LATENCIES[order])
        found.append(learned.predict(SAMPLES[:27]).mean)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)


def test_four_samples_tell_a_device_that_is_a_mixture_of_known_ones() -> None:
    pool = shares(2.0)
    transfer = fresh("latency_transfer").pretrain(pool)  # type: ignore[attr-defined]
    y = 0.2 * pool["a"][1] + 1.5 * pool["b"][1] + 0.4 * pool["c"][1]
    chosen = transfer.references(SAMPLES, 4)
    assert len(set(chosen)) == 4
    found = transfer.fit([SAMPLES[i] for i in chosen], y[chosen]).predict(SAMPLES)
    assert np.abs(found.mean / y - 1).max() < 0.03
    alone = fresh("latency_table").fit([SAMPLES[i] for i in chosen[:3]], y[chosen[:3]])
    with pytest.raises(NasplatError, match="was not among those learned"):
        alone.predict(SAMPLES)  # what a table learns from so few does not even name all blocks


def test_the_deviation_of_a_transfer_covers_about_as_much_as_it_says() -> None:
    transfer = fresh("latency_transfer").pretrain(shares(2.0))  # type: ignore[attr-defined]
    y = LATENCIES * np.exp(0.08 * np.random.default_rng(0).standard_normal(len(SAMPLES)))
    found = transfer.fit(SAMPLES[:20], y[:20]).predict(SAMPLES)
    assert 0.5 < (np.abs(found.mean - y)[20:] < found.std[20:]).mean() < 0.9  # 0.68 for normal noise


def test_a_pool_without_a_device_is_the_pool_of_the_others() -> None:
    pool = shares(2.0)
    smaller = fresh("latency_transfer").pretrain(pool).without(["a"])  # type: ignore[attr-defined]
    direct = fresh("latency_transfer").pretrain({name: pool[name] for name in "bc"})  # type: ignore[attr-defined]
    one, other = (p.fit(SAMPLES[:9], LATENCIES[:9]).predict(SAMPLES).mean for p in (smaller, direct))
    np.testing.assert_allclose(one, other, rtol=1e-12)
    with pytest.raises(NasplatError, match="keep two or more"):
        smaller.without(["b"])
    with pytest.raises(NasplatError, match="no device 'd'"):
        smaller.without(["d"])


@pytest.mark.parametrize("name", ["latency_table", "latency", "latency_gnn", "latency_transfer"])
def test_what_cannot_be_learned_or_asked_is_refused_in_one_line(name: str) -> None:
    predictor = fresh(name)
    with pytest.raises(NasplatError, match="call fit") as unfitted:
        predictor.predict(SAMPLES)
    if name == "latency_transfer":
        with pytest.raises(NasplatError, match="call pretrain"):
            predictor.fit(SAMPLES, LATENCIES)
        with pytest.raises(NasplatError, match="two or more"):
            predictor.pretrain({"a": (SAMPLES, LATENCIES)})  # type: ignore[attr-defined]
        predictor.pretrain(shares(2.0))  # type: ignore[attr-defined]
    with pytest.raises(NasplatError, match="expected a number above 0") as dead:
        predictor.fit(SAMPLES, [*LATENCIES[:-1], 0.0])
    with pytest.raises(NasplatError, match="give one for each") as short:
        predictor.fit(SAMPLES, LATENCIES[:-1])
    assert all("\n" not in str(error.value) for error in (unfitted, dead, short))


def test_a_block_that_was_never_seen_is_refused_by_name() -> None:
    seen = [sample for sample in SAMPLES if sample.arch["third"] != "pool"]
    table = fresh("latency_table").fit(seen, [planted(sample) for sample in seen])
    with pytest.raises(NasplatError, match=r"block third = 'pool' .* expected one of \['conv', 'none'\]"):
        table.predict(SAMPLES)
    with pytest.raises(NasplatError, match="no measured latency of block"):
        fresh("latency_table", blocks={f"{name}=none": 1.0 for name in PLACES}).predict(SAMPLES)
