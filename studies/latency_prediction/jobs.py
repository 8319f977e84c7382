"""What one job does: predict the latencies of one device, from many of its own or from few and a pool of others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from published import Floats, Published, kin, published, split
from scipy.stats import spearmanr

import nasplat
from nasplat.prediction import Sample
from nasplat.prediction.costs import Lesson, Prior, squares

Rows = list[dict[str, Any]]
Numbers = NDArray[np.int_]

LABELS = 900
DRAWS = 10
CANDIDATES = 500
"""Networks from which those to measure on a new device are drawn, or chosen."""
PAIRED = ("ofa", "hat")
"""Where the pool learns costs of pairs: the side of the image multiplies the cost of all blocks."""


@dataclass(frozen=True, slots=True)
class Job:
    """part: "device" or "transfer". seeds: of splits into what is learned from and the test."""

    part: str
    benchmark: str
    device: str
    seeds: int = 3

    @property
    def name(self) -> str:
        return f"{self.part}/{self.benchmark}/{self.device}"


def work(job: Job) -> Rows:
    """The rows of a job."""
    data = published(job.benchmark)
    found = _device(data, job) if job.part == "device" else _transfer(data, job.device)
    return [{"job": job.name, "benchmark": job.benchmark, "device": job.device, **row} for row in found]


def _device(data: Published, job: Job) -> Iterator[dict[str, Any]]:
    """Each way of learning a device from its own latencies, on the same test networks."""
    y = data.latencies[job.device]
    for seed in range(job.seeds):
        learn, judge = split(data, job.device, seed)
        for method, (labels, function) in _ways(data).items():
            start = time.process_time()
            predicted = function(data, y, learn[:labels], judge)
            seconds = time.process_time() - start
            yield _row(method, labels, seed, predicted, y[judge], seconds)


def _ways(data: Published) -> dict[str, tuple[int, Callable[..., Floats]]]:
    ways: dict[str, tuple[int, Callable[..., Floats]]] = {
        "table": (LABELS, _plug_in("latency_table")),
        "latency": (LABELS, _plug_in("latency")),
    }
    if data.name != "nb201":
        return ways
    return ways | {
        "MACs": (LABELS, _macs),
        "GNN": (LABELS, _plug_in("latency_gnn", members=1)),
        "latency, 12,000": (data.learn, _plug_in("latency", pairs=False)),
        "trees, 12,000, squares": (data.learn, _trees("squared_error")),
        "trees, 12,000, absolute": (data.learn, _trees("absolute_error")),
    }


def _plug_in(name: str, **arguments: Any) -> Callable[..., Floats]:
    def run(data: Published, y: Floats, learn: Numbers, judge: Numbers) -> Floats:
        predictor = nasplat.load("predictors", name)(**arguments)
        mean: Floats = predictor.fit(_taken(data, learn), y[learn]).predict(_taken(data, judge)).mean
        return mean

    return run


def _macs(data: Published, y: Floats, learn: Numbers, judge: Numbers) -> Floats:
    """A line over multiply-adds, by squares of relative errors."""
    assert data.macs is not None
    rows = np.c_[np.ones(len(y)), data.macs / data.macs.mean()]
    line = np.linalg.lstsq(rows[learn] / y[learn, None], np.ones(len(learn)))[0]
    return np.asarray(rows[judge] @ line)


def _trees(loss: str) -> Callable[..., Floats]:
    """Boosted trees on the logarithm, from the operations of all edges, those of live ones, counts and MACs."""

    def run(data: Published, y: Floats, learn: Numbers, judge: Numbers) -> Floats:
        from sklearn.ensemble import HistGradientBoostingRegressor

        x = _tree_columns(data.name)
        trees = HistGradientBoostingRegressor(
            loss=loss, max_iter=200, learning_rate=0.05, max_leaf_nodes=15, random_state=0
        )
        return np.asarray(np.exp(trees.fit(x[learn], np.log(y[learn])).predict(x[judge])))

    return run


@cache
def _tree_columns(name: str) -> Floats:
    data = published(name)
    words = sorted({str(v) for sample in data.samples for v in sample.arch.values()})
    chosen = np.array([[words.index(str(v)) for v in s.arch.values()] for s in data.samples])
    all_of = np.stack([(chosen == i).sum(1) for i in range(len(words))], 1)
    live = np.array([[s.graph.operations.count(w) for w in words] for s in data.samples if s.graph])
    return np.c_[chosen, all_of, live, data.macs]


def _transfer(data: Published, device: str) -> Iterator[dict[str, Any]]:
    """Each way of learning a device from 10 and 20 of its latencies: means over the draws of these networks."""
    y = data.latencies[device]
    learn, judge = split(data, device, 0)
    for scope in ("family", "itself") if data.name == "hat" else ("family", "kind"):
        left = kin(device, list(data.latencies), scope)
        if len(data.latencies) - len(left) < 2:
            continue
        pool = _pool(data.name).without(left)
        for labels in (10, 20):
            draws: dict[str, Rows] = {}
            for draw in range(DRAWS):
                some = np.random.default_rng(draw).permutation(learn)[:CANDIDATES]
                for method, predicted in _few(data, pool, y, some, judge, labels):
                    draws.setdefault(method, []).append(
                        _row(f"{method}, {scope} left out", labels, 0, predicted, y[judge], 0.0)
                    )
            yield from (_mean(rows) for rows in draws.values())


def _few(
    data: Published, pool: Any, y: Floats, some: Numbers, judge: Numbers, labels: int
) -> Iterator[tuple[str, Floats]]:
    """What each way predicts from a few networks among `some`."""
    asked, drawn = _taken(data, judge), some[:labels]
    chosen = some[pool.references(_taken(data, some), labels)]
    yield "transfer, random", pool.fit(_taken(data, drawn), y[drawn]).predict(asked).mean
    yield "transfer, chosen", pool.fit(_taken(data, chosen), y[chosen]).predict(asked).mean
    costs, blocks = pool.known, pool.blocks
    seen, wanted = blocks.columns(_taken(data, drawn)), blocks.columns(asked)
    nearest = max(costs, key=lambda name: _spearman(costs[name].at(seen), y[drawn]))
    yield "nearest device", costs[nearest].at(wanted) * np.median(y[drawn] / costs[nearest].at(seen))
    yield "table", squares(Lesson.of(seen, y[drawn]), Prior(0.0, 0.01)).at(wanted)
    if data.macs is not None:
        yield "MACs", _macs(data, y, drawn, judge)


@cache
def _pool(name: str) -> Any:
    """All devices, each learned from its first networks."""
    data = published(name)
    first = {device: split(data, device, 0)[0][:LABELS] for device in data.latencies}
    transfer = nasplat.load("predictors", "latency_transfer")(pairs=name in PAIRED)
    return transfer.pretrain({d: (_taken(data, some), data.latencies[d][some]) for d, some in first.items()})


def _row(method: str, labels: int, seed: int, predicted: Floats, y: Floats, seconds: float) -> dict[str, Any]:
    error = np.abs(predicted / y - 1)
    return {
        "method": method,
        "labels": labels,
        "seed": seed,
        "within_5": float((error <= 0.05).mean()),
        "within_10": float((error <= 0.1).mean()),
        "spearman": _spearman(predicted, y),
        "spread": 0.0,
        "seconds": seconds,
    }


def _mean(rows: Rows) -> dict[str, Any]:
    """The mean of the draws, and the standard deviation of their Spearman correlations."""
    numbers = {
        key: float(np.mean([row[key] for row in rows])) for key in ("within_5", "within_10", "spearman")
    }
    return rows[0] | numbers | {"spread": float(np.std([row["spearman"] for row in rows], ddof=1))}


def _spearman(a: Floats, b: Floats) -> float:
    return 0.0 if np.ptp(a) == 0 else float(spearmanr(a, b).statistic)


def _taken(data: Published, rows: Sequence[int] | Numbers) -> list[Sample]:
    return [data.samples[i] for i in rows]
