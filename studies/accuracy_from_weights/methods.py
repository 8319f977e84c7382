"""Every way of judging networks: a function of the known networks, whom to learn from, whom to judge, and a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from networks import Known, Numbers, facts, forms
from numpy.typing import NDArray

import nasplat
from nasplat.prediction import Predictor

Floats = NDArray[np.float64]

TARGET = "test_accuracy"


@dataclass(frozen=True, slots=True)
class Question:
    """Whom to learn from and whom to judge, as places among the known networks."""

    known: Known
    learn: Numbers
    judge: Numbers
    seed: int

    @property
    def targets(self) -> Floats:
        """Test accuracies of those to learn from."""
        return self.known.table[TARGET].to_numpy()[self.learn]


Method = Callable[[Question], Floats]


def count_parameters(question: Question) -> Floats:
    """Nothing is learned: more parameters, higher accuracy."""
    return np.asarray(question.known.table["params"].to_numpy(float)[question.judge])


def boost_facts(question: Question, recipe: bool) -> Floats:
    """Boosting on what a network is, and, with its recipe, on how it was trained: nothing of its weights."""
    columns = facts(question.known.table, recipe)
    samples = [
        replace(s, encoding=row, weights=None) for s, row in zip(question.known.samples, columns, strict=True)
    ]
    return _predict(nasplat.load("predictors", "boosting")(inputs=["encoding"]), question, samples)


def plug_in(question: Question, name: str, **arguments: Any) -> Floats:
    """One predictor for all networks."""
    return _predict(nasplat.load("predictors", name)(**arguments), question, question.known.samples)


def by_form(question: Question, name: str, **arguments: Any) -> Floats:
    """A predictor for each form of its own, which learns from the networks of that form; their mean where there are
    fewer than ten."""
    words, targets = forms(question.known.table), question.known.table[TARGET].to_numpy()
    found = np.full(len(words), targets[question.learn].mean())
    for word in np.unique(words[question.judge]):
        learn, judge = (rows[words[rows] == word] for rows in (question.learn, question.judge))
        if len(learn) >= 10:
            own = replace(question, learn=learn, judge=judge)
            found[judge] = plug_in(own, name, **arguments)
    return np.asarray(found[question.judge])


def _predict(predictor: Predictor, question: Question, samples: list[Any]) -> Floats:
    predictor.fit([samples[i] for i in question.learn], question.targets, seed=question.seed)
    return predictor.predict([samples[i] for i in question.judge]).mean


ANY_FORM: dict[str, Method] = {
    "parameter count": count_parameters,
    "form": partial(boost_facts, recipe=False),
    "statistics, boosting": partial(plug_in, name="statnn", model="boosting"),
    "statistics, forest": partial(plug_in, name="statnn", model="forest"),
    "deep sets": partial(plug_in, name="metanet", backbone="deep_sets", width=32, layers=3, epochs=30),
    "pna": partial(plug_in, name="metanet", backbone="pna", width=16, layers=3, epochs=10),
    "edge gated": partial(plug_in, name="metanet", backbone="edge_gated", width=16, layers=3, epochs=30),
}
"""What judges networks of any form, in the order of the tables."""

EACH_FORM: dict[str, Method] = {
    "flat weights, boosting, by form": partial(by_form, name="flat_weights", model="boosting"),
    "statistics, boosting, by form": partial(by_form, name="statnn", per="tensor", model="boosting"),
}
"""What needs networks of one form: a predictor for each of them."""

INSIDER: dict[str, Method] = {"form and recipe": partial(boost_facts, recipe=True)}
"""What knows how networks were trained, which no other row does."""

METHODS = {**ANY_FORM, **EACH_FORM, **INSIDER}
BASELINES = ("statistics, boosting", "statistics, forest", "deep sets", *EACH_FORM)
"""The rows with which the graph networks are compared: the best of them."""
