"""What a study asks of each architecture: metrics from cheap to expensive, bounds, and the cheap filter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasplat.errors import InvalidStudy
from nasplat.metric import Cost, Metric, Workbench, make_metric
from nasplat.prediction.aggregates import log_rank
from nasplat.study.file import Constraint, StudyFile


@dataclass(frozen=True, slots=True)
class Bound:
    """A metric with the least and the greatest value that an architecture may have."""

    metric: Metric
    low: float | None
    high: float | None

    def violation(self, value: float) -> float:
        """How far the value is outside, relative to the bound it breaks; zero or less where it is kept."""
        over = [] if self.high is None else [(value - self.high) / (abs(self.high) or 1.0)]
        under = [] if self.low is None else [(self.low - value) / (abs(self.low) or 1.0)]
        return max(over + under)

    def __str__(self) -> str:
        low = "" if self.low is None else f"{self.low:g} <= "
        high = "" if self.high is None else f" <= {self.high:g}"
        return f"{low}{self.metric.name}{high}"


SCORES = "scores"
"""The attribute of a trial that holds its scores: a resumed filter has seen what it saw before."""

Scores = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ScoreFilter:
    """Keeps the best share of all architectures scored so far, by the sum of their log ranks.

    The aggregate of AZ-NAS (arXiv:2403.19232): sum over scores of log(rank / n), rank n the best. It is relative to
    what was scored before, so the first `settle` architectures always pass.
    """

    metrics: Sequence[Metric]
    keep: float
    settle: int = 10

    def objection(self, values: Scores, earlier: Sequence[Scores]) -> str | None:
        """Why an architecture goes no further, once a score has no value or the last one has come in."""
        newest = list(values)[-1]
        if math.isnan(values[newest]):
            return f"{newest} has no value for it"
        if newest == self.metrics[-1].name and not self.passes(values, earlier):
            return f"its scores are not among the best {self.keep:.0%}"
        return None

    def scores(self, values: Scores) -> dict[str, float] | None:
        """The scores among the values of an architecture; None unless all are there."""
        found = {m.name: values.get(m.name, math.nan) for m in self.metrics}
        return None if any(map(math.isnan, found.values())) else found

    def passes(self, values: Scores, earlier: Sequence[Scores]) -> bool:
        """Whether an architecture with these scores goes on, after the `earlier` ones."""
        pool = [scores for scores in map(self.scores, [*earlier, values]) if scores]
        if len(pool) <= self.settle:
            return True
        totals = self.log_ranks(pool)
        return bool(np.mean(totals > totals[-1]) < self.keep)

    def log_ranks(self, pool: Sequence[Scores]) -> NDArray[np.float64]:
        """The sum of log ranks of each of n architectures, (n,): higher is better, equal scores rank alike."""
        signs = {m.name: 1.0 if m.direction == "maximize" else -1.0 for m in self.metrics}
        columns = [[sign * scores[name] for name, sign in signs.items()] for scores in pool]
        return log_rank(np.array(columns, np.float64))


@dataclass(frozen=True, slots=True)
class Plan:
    """The metrics of a study. `directions` go with `objectives`."""

    objectives: tuple[Metric, ...]
    directions: tuple[str, ...]
    bounds: tuple[Bound, ...]
    filter: ScoreFilter | None

    @property
    def metrics(self) -> list[Metric]:
        """Every metric once, from cheap to expensive."""
        scores = self.filter.metrics if self.filter else ()
        every = {m.name: m for m in (*scores, *(b.metric for b in self.bounds), *self.objectives)}
        return sorted(every.values(), key=lambda m: m.cost)

    def objection(self, values: Mapping[str, float], earlier: Sequence[Scores] = ()) -> str | None:
        """Why an architecture with these values needs no further metric; None where it may go on.

        The filter judges once, when the last of its scores has come in, after the `earlier` architectures.
        """
        for bound in self.bounds:
            if bound.metric.name in values and bound.violation(values[bound.metric.name]) > 0:
                return f"{bound.metric.name} = {values[bound.metric.name]:g} breaks {bound}"
        return None if self.filter is None else self.filter.objection(values, earlier)

    def only_filters(self, metric: Metric) -> bool:
        """Whether a metric is asked by the filter alone, so that a trial can do without its value."""
        named = {m.name for m in (*self.objectives, *(b.metric for b in self.bounds))}
        return metric.name not in named

    def violations(self, values: Mapping[str, float]) -> dict[str, float]:
        """The violation of each bound whose metric is known."""
        return {str(b): b.violation(values[b.metric.name]) for b in self.bounds if b.metric.name in values}

    def notes(self, values: Mapping[str, float]) -> dict[str, Any]:
        """What a trial leaves for the filter's later judgements: its scores."""
        scores = self.filter.scores(values) if self.filter else None
        return {SCORES: scores} if scores else {}


def make_plan(page: StudyFile, bench: Workbench, base: Path) -> Plan:
    """Bind the metrics that a study file names to the bench; raises in one line for what does not fit."""
    made: dict[str, Metric] = {}

    def metric(name: str, arguments: Mapping[str, object]) -> Metric:
        if name not in made:
            made[name] = make_metric(name, arguments, bench, base)
        elif arguments and make_metric(name, arguments, bench, base).origin != made[name].origin:
            raise InvalidStudy(
                f"metric {name!r} is asked for with two sets of arguments; a study has one of each"
            )
        return made[name]

    objectives = tuple(metric(o.metric, o.arguments) for o in page.objective)
    given = [o.direction or m.direction for o, m in zip(page.objective, objectives, strict=True)]
    for objective, direction in zip(page.objective, given, strict=True):
        if direction is None:
            raise InvalidStudy(f"objective {objective.metric!r} needs a direction: 'maximize' or 'minimize'")
    bounds = tuple(_bound(c, metric) for c in page.constraint)
    told = partial(_told_of_training, recipe=_recipe_of(made.values()))
    return Plan(
        tuple(map(told, objectives)),
        tuple(d for d in given if d),
        tuple(replace(bound, metric=told(bound.metric)) for bound in bounds),
        _filter(page, metric),
    )


def _recipe_of(metrics: Iterable[Metric]) -> object:
    """How networks are trained alone, if they are."""
    return next((m.origin["recipe"] for m in metrics if m.cost is Cost.TRAINED), None)


def _told_of_training(metric: Metric, recipe: object) -> Metric:
    """A function of the user's comes last and sees the network that was trained, so the recipe is of its origin."""
    if metric.cost is not Cost.UNKNOWN:
        return metric
    return replace(metric, origin={**metric.origin, "training": recipe})


def _bound(constraint: Constraint, metric: Callable[[str, Mapping[str, object]], Metric]) -> Bound:
    return Bound(metric(constraint.metric, constraint.arguments), constraint.min, constraint.max)


def _filter(page: StudyFile, metric: Callable[[str, Mapping[str, object]], Metric]) -> ScoreFilter | None:
    if page.filter is None:
        return None
    return ScoreFilter([metric(f"score:{name}", {}) for name in page.filter.scores], page.filter.keep)
