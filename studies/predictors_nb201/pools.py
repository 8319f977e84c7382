"""Published tables as pools of samples with targets, and how labels are drawn from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import nasplat as nas
from nasplat.prediction import Sample, describe
from nasplat.prediction.normal import NormalScores
from nasplat.prediction.operators import operator_graph
from nasplat.table import KNOWN, open_table

TRANSNAS = ("class_scene", "jigsaw", "segmentsemantic", "autoencoder", "normal", "room_layout")
POOLS = (
    *("nb201_zc/cifar10", "nb201_zc/cifar100", "nb301", "nb101"),
    *(f"transnas_micro/{task}" for task in TRANSNAS),
    *(f"transnas_macro/{task}" for task in TRANSNAS),
    "nas_bench_graph/arxiv",
)
TARGETS = {"nas_bench_graph/arxiv": "valid_perf"}  # elsewhere val_accuracy; test accuracies are never read
SCORES = {"nas_bench_graph/arxiv": ("params_m",)}  # elsewhere all columns
WEAK = {"nb201_zc/cifar10": "c10_valid_e12", "nb201_zc/cifar100": "c100_valid_e12"}
"""Validation accuracies after 12 epochs, columns of the table nb201."""

LARGEST = 2000
"""Of larger tables a fixed random part is the pool."""


@dataclass(frozen=True, eq=False)
class Pool:
    """n samples with targets (n,); functions: equal for samples that compute the same."""

    samples: list[Sample]
    targets: NDArray[np.float64]
    functions: list[str]

    def scores(self, name: str) -> NDArray[np.float64]:
        """One score of all samples, NaN where there is none."""
        return np.array([sample.scores.get(name, np.nan) for sample in self.samples])


@cache
def pool(name: str) -> Pool:
    """All rows of a table that have a target."""
    table, space = open_table(name), nas.load("spaces", KNOWN[name].space)()
    target = TARGETS.get(name, "val_accuracy")
    values, archs = table.numbers(target), table.archs(space)
    rows = np.random.default_rng(0).permutation(np.flatnonzero(np.isfinite(values)))[:LARGEST]
    columns = {c: table.numbers(c)[rows] for c in SCORES.get(name, table.facts) if c != target}
    known = {c: numbers for c, numbers in columns.items() if np.isfinite(numbers).any()}
    chosen = [archs[row] for row in rows]
    scores = {a.key: {c: float(known[c][i]) for c in known} for i, a in enumerate(chosen)}
    functions = [space.notation.function_key(arch) for arch in chosen]
    return Pool(describe(space, chosen, scores), values[rows], functions)


@cache
def with_weak_labels(name: str) -> Pool:
    """The pool with the validation accuracy after 12 epochs as one more score, column `weak`."""
    known, table, space = pool(name), open_table("nb201"), nas.load("spaces", "nasbench201")()
    row_of, numbers = table.rows_of(space), table.numbers(WEAK[name])
    weak = [float(numbers[row_of(sample.arch)]) for sample in known.samples]
    samples = [
        replace(s, scores={**s.scores, "weak": value}) for s, value in zip(known.samples, weak, strict=True)
    ]
    return replace(known, samples=samples)


LAYERS = Path(__file__).resolve().parents[1] / "proxy_correlations" / "layers"
"""What ../proxy_correlations/run.py leaves: values by module of our scores, a file for each network."""

BY_LAYER = ("grad_norm", "snip", "synflow", "fisher")


def has_layers() -> bool:
    """Whether values by module are there, for CIFAR-10 images."""
    return LAYERS.is_dir()


@cache
def with_layers(name: str) -> Pool:
    """The pool with values by module of untrained networks; the sum of each is a published score already."""
    known, space = pool(name), nas.load("spaces", "nasbench201")()
    table = open_table("nb201")
    row_of, index = table.rows_of(space), table.frame["index"]
    samples = []
    for sample in known.samples:
        text = (LAYERS / f"{index[row_of(sample.arch)]}-params.json").read_text(encoding="utf-8")
        found = json.loads(text)
        samples.append(replace(sample, layers={score: found[score] for score in BY_LAYER}))
    return replace(known, samples=samples)


@cache
def traced(name: str) -> Pool:
    """The pool with values by module, the graphs being those of all operations of the networks."""
    known, space = with_layers(name), nas.load("spaces", "nasbench201")()
    example = torch.zeros(1, 3, 32, 32)
    graphs = [operator_graph(space.build(sample.arch), example) for sample in known.samples]
    samples = [replace(s, graph=graph) for s, graph in zip(known.samples, graphs, strict=True)]
    return replace(known, samples=samples)


@cache
def prior_pool() -> tuple[list[Sample], NDArray[np.float64]]:
    """The cells of TransNAS-Bench-101, and the mean over tasks of the normal scores of their validation metrics."""
    pools = [pool(f"transnas_micro/{task}") for task in TRANSNAS]
    known: dict[str, list[float]] = {}
    for each in pools:
        units = NormalScores.of(each.targets).scores_of(each.targets)
        for sample, unit in zip(each.samples, units, strict=True):
            known.setdefault(sample.arch.key, []).append(float(unit))
    samples = [sample for sample in pools[0].samples if len(known[sample.arch.key]) == len(pools)]
    return samples, np.array([np.mean(known[sample.arch.key]) for sample in samples])


def split(functions: Sequence[str], how: str, labels: int, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the samples with labels and of those to judge.

    random: all others are judged. unseen: those of them whose function no label has. Fewer labels of one seed are
    the first of more.
    """
    order = np.random.default_rng(seed).permutation(len(functions)).tolist()
    chosen, rest = order[:labels], order[labels:]
    if how == "unseen":
        seen = {functions[i] for i in chosen}
        rest = [i for i in rest if functions[i] not in seen]
    return chosen, rest
