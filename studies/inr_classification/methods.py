"""Every way of telling what a network shows: whom to learn from and whom to judge -> classes of the judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from images import Numbers, Shown
from numpy.typing import NDArray

import nasplat
from nasplat.channels import ParameterGraph
from nasplat.metanet.statistics import by_tensor, flat_weights
from nasplat.zoo import places


@dataclass(frozen=True, slots=True)
class Question:
    """Whom to learn from and whom to judge, as places among the shown networks; frequency: of their sines."""

    shown: Shown
    learn: Numbers
    judge: Numbers
    seed: int
    frequency: float

    @property
    def labels(self) -> Numbers:
        """Of those to learn from."""
        return self.shown.labels[self.learn]


Method = Callable[[Question], Numbers]
Columns = Callable[[Question], NDArray[Any]]


def metanet(question: Question, **arguments: Any) -> Numbers:
    """Our classifier of weights."""
    predictor = nasplat.load("predictors", "metanet_classifier")(grid=1, **arguments)
    predictor.fit(question.shown.samples(question.learn), question.labels, seed=question.seed)
    return np.asarray(predictor.predict(question.shown.samples(question.judge)).mean.astype(int))


def commonest(question: Question) -> Numbers:
    """Nothing is read."""
    return np.full(len(question.judge), np.bincount(question.labels).argmax())


def perceptron(question: Question, columns: Columns) -> Numbers:
    """Two layers of 128 on standardised columns; a tenth of the networks says when to stop."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    layers = MLPClassifier((128, 128), early_stopping=True, n_iter_no_change=20, random_state=question.seed)
    return _taught(make_pipeline(StandardScaler(), layers), question, columns)


def forest(question: Question, columns: Columns) -> Numbers:
    """300 trees."""
    from sklearn.ensemble import RandomForestClassifier

    return _taught(RandomForestClassifier(300, random_state=question.seed), question, columns)


def _taught(model: Any, question: Question, columns: Columns) -> Numbers:
    x = columns(question)
    return np.asarray(model.fit(x[question.learn], question.labels).predict(x[question.judge]))


def flat(question: Question) -> NDArray[Any]:
    """All weights in a row."""
    return flat_weights(question.shown.graph).numpy()


def statistics(question: Question) -> NDArray[Any]:
    """Seven numbers of each tensor."""
    return by_tensor(question.shown.graph).numpy()


def pixels(question: Question) -> NDArray[Any]:
    """8 by 8 pixels of the image that each network shows: what a reader of weights cannot see."""
    return rendered(question.shown.graph, question.frequency, 8).numpy()


def rendered(graph: ParameterGraph, frequency: float, side: int) -> torch.Tensor:
    """The images (m, side * side) of m SIRENs, as in `nasplat.zoo.Siren`; gradients flow."""
    tensors = graph.tensors
    x = places(side, side).expand(*graph.batch, -1, -1)
    for name in (key.removesuffix(".weight") for key in graph.structure.shapes if key.endswith("weight")):
        x = x @ tensors[f"{name}.weight"].mT + tensors[f"{name}.bias"][..., None, :]
        x = x if name == "last" else torch.sin(frequency * x)
    return x[..., 0]


METHODS: dict[str, Method] = {
    "commonest class": commonest,
    "flat weights, perceptron": partial(perceptron, columns=flat),
    "statistics, forest": partial(forest, columns=statistics),
    "deep sets": partial(metanet, backbone="deep_sets", width=32, layers=3, epochs=80, rate=5e-3),
    "pna": partial(metanet, backbone="pna", width=16, layers=3, epochs=30, rate=5e-3),
    "edge gated": partial(metanet, backbone="edge_gated", width=16, layers=3, epochs=80, rate=5e-3),
    "pixels, perceptron": partial(perceptron, columns=pixels),
}
"""In the order of the table; the last one renders the networks, which readers of weights do not."""

BASELINES = ("flat weights, perceptron", "statistics, forest", "deep sets")
