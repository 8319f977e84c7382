"""The methods that are compared: what each knows, and what it learns from labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from pools import Pool, has_layers, pool, prior_pool, traced, with_layers, with_weak_labels

import nasplat as nas
from nasplat.prediction import Prediction, Predictor, aggregate

CONTROL = "forest on encodings and scores"
NB201 = ("nb201_zc/cifar10", "nb201_zc/cifar100")
MIXED = ("flops_m", "nwot", "synflow", "jacov")
"""The scores of the aggregate, those of them that a table has."""


@dataclass(frozen=True)
class Method:
    """A plug-in with its arguments. sees: what the method knows of a pool. prior: what a blend on TransNAS
    cells says is one more column. trained: it has learned from TransNAS cells before and goes on. pools: the tables
    it is for, all if empty.
    """

    plug_in: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    sees: Callable[[str], Pool] = pool
    prior: bool = False
    trained: bool = False
    pools: tuple[str, ...] = ()

    def make(self) -> Predictor:
        """A predictor that has learned nothing yet."""
        if self.trained:
            return deepcopy(trained_on_cells(self.plug_in))
        made: Predictor = nas.load("predictors", self.plug_in)(**self.arguments)
        if self.prior:
            made.prior = trained_prior()  # type: ignore[attr-defined]
        return made


@cache
def trained_prior() -> Predictor:
    """A blend on the graphs of TransNAS cells: scores of other images do not carry over."""
    samples, targets = prior_pool()
    prior: Predictor = nas.load("predictors", "blend")(inputs=["graph"]).fit(samples, targets)
    return prior


@cache
def trained_on_cells(plug_in: str) -> Predictor:
    """A predictor that has learned from the graphs of TransNAS cells and is ready to go on elsewhere."""
    samples, targets = prior_pool()
    alone = [replace(sample, scores={}) for sample in samples]
    made: Predictor = nas.load("predictors", plug_in)(warm=True)
    return made.fit(alone, targets)


def mixed(known: Pool, judged: Sequence[int]) -> np.ndarray:
    """Sum of log relative ranks over the judged networks."""
    present = [name for name in MIXED if name in known.samples[0].scores]
    table = pd.DataFrame({name: known.scores(name)[list(judged)] for name in present})
    return aggregate(table, dict.fromkeys(present, "maximize")).to_numpy()


def prior_alone(known: Pool, judged: Sequence[int]) -> np.ndarray:
    """What TransNAS cells say, without a label."""
    return trained_prior().predict([known.samples[i] for i in judged]).mean


UNLABELLED: dict[str, Callable[[Pool, Sequence[int]], np.ndarray]] = {
    "parameters": lambda known, judged: known.scores("params_m")[list(judged)],
    "multiply-adds": lambda known, judged: known.scores("flops_m")[list(judged)],
    "log-rank sum of four scores": mixed,
    "prior from TransNAS cells alone": prior_alone,
    "12 epochs alone": lambda known, judged: known.scores("weak")[list(judged)],
}
"""What needs no labels: one number for each judged network."""

LEARNED: dict[str, Method] = {
    "ridge": Method("ridge"),
    "forest on encodings": Method("forest", {"inputs": ["encoding"]}),
    "forest on scores": Method("forest", {"inputs": ["scores"]}),
    CONTROL: Method("forest", {"inputs": ["encoding", "scores"]}),
    "forest on routes and scores": Method("forest"),
    "extra trees": Method("forest", {"extra": True}),
    "boosting": Method("boosting"),
    "blend without scores": Method("blend", {"inputs": ["graph"]}),
    "blend": Method("blend"),
    "blend, prior": Method("blend", prior=True, pools=NB201),
    "blend, 12 epochs": Method("blend", sees=with_weak_labels, pools=NB201),
    **{name: Method(name) for name in ("gcn", "gates", "graph_transformer", "operator_gnn")},
    "operator_gnn, after TransNAS cells": Method("operator_gnn", trained=True, pools=NB201),
}
"""What learns; any plug-in whose needs the tables meet can be added."""

PUBLISHED = {"network": "mixer", "bayesian": True, "loss": "diffkendall"}
BY_LAYER = {
    "parzc": Method("parzc", sees=with_layers, pools=NB201[:1]),
    "parzc, mixer, Bayesian, DiffKendall": Method("parzc", PUBLISHED, sees=with_layers, pools=NB201[:1]),
    "operator_gnn, all operations and layer-wise scores": Method(
        "operator_gnn", sees=traced, pools=NB201[:1]
    ),
}
LEARNED |= BY_LAYER if has_layers() else {}


def methods(name: str) -> list[str]:
    """The rows of a table."""
    scores = pool(name).samples[0].scores
    wanted = {"parameters": "params_m", "multiply-adds": "flops_m", "log-rank sum of four scores": "nwot"}
    free = [
        m for m in UNLABELLED if wanted.get(m, "params_m") in scores and ("alone" not in m or name in NB201)
    ]
    return [*free, *(m for m, method in LEARNED.items() if not method.pools or name in method.pools)]


def judge(name: str, method: str, labelled: list[int], judged: list[int], seed: int) -> Prediction:
    """What a method says of the judged networks."""
    if method in UNLABELLED:
        known = with_weak_labels(name) if method == "12 epochs alone" else pool(name)
        mean = np.nan_to_num(UNLABELLED[method](known, judged), nan=-np.inf)
        return Prediction(mean, np.full(len(mean), np.nan))
    chosen = LEARNED[method]
    known = chosen.sees(name)
    learned = chosen.make().fit([known.samples[i] for i in labelled], known.targets[labelled], seed=seed)
    return learned.predict([known.samples[i] for i in judged])
