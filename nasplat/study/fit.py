"""Learn a predictor from what a study has measured, and keep it as files that a study can name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasplat.arguments import check_arguments
from nasplat.errors import InvalidStudy
from nasplat.files import json_hash
from nasplat.metric import Metric, versions
from nasplat.plugins import load
from nasplat.prediction import Card, Predictor, Sample, describe, save_predictor
from nasplat.space import Arch
from nasplat.store import EvaluationRecord
from nasplat.study.assembly import Assembly, assemble
from nasplat.study.folder import StudyFolder
from nasplat.study.run import Watcher
from nasplat.study.scores import Question, score_study
from nasplat.supernet.probes import kendall

FOLDS = 5
LEAST = 10
"""Labels without which nothing is learned: two for each fold."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to learn: the plug-in with its arguments, and the study's metric that it is to predict."""

    plug_in: str
    metric: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 64
    seed: int = 0


def fit_predictor(study: StudyFolder, order: Order, folder: Path, watcher: Watcher | None = None) -> Card:
    """Fit on every finished architecture of the study and write weights and card to a folder.

    Scores that the predictor reads are computed first where the store lacks them. The card's figures are those of
    5-fold cross-validation: `kendall_tau`, and `mae` in the metric's unit where the predictor does more than rank.
    """
    assembly = assemble(study)
    metric = _metric(assembly, order.metric)
    labels = _labels(study, metric, assembly.bench.space.hash)
    predictor = _make(order, study.folder)
    if predictor.needs & {"scores", "layers"}:
        score_study(study, Question(of_trials=True, batch=order.batch), watcher)
    samples = _samples(study, assembly, labels)
    targets = np.array([labels[s.arch.key] for s in samples])
    figures = _cross_validated(order, study.folder, samples, targets)
    predictor.fit(samples, targets, seed=order.seed)
    card = _card(order, assembly, metric, targets, figures)
    if predictor.needs & {"scores", "layers"}:
        read = sorted({name for sample in samples for name in sample.scores})
        card = replace(card, scores=tuple(read), batch=order.batch)
    save_predictor(predictor, card, folder)
    return card


def _make(order: Order, base: Path) -> Predictor:
    factory = load("predictors", order.plug_in, base=base)
    made = factory(**check_arguments(factory, order.arguments, f"predictor {order.plug_in!r}"))
    if not isinstance(made, Predictor):
        raise InvalidStudy(f"{order.plug_in!r} makes a {type(made).__name__}, not a predictor")
    return made


def _metric(assembly: Assembly, name: str) -> Metric:
    known = {metric.name: metric for metric in assembly.plan.metrics}
    if name not in known:
        raise InvalidStudy(f"the study does not measure {name!r}; it measures: {', '.join(known)}")
    return known[name]


def _labels(study: StudyFolder, metric: Metric, space: str) -> dict[str, float]:
    """The current numbers of the metric by architecture, those of this study's own origin."""
    found = study.store.evaluations(space, metric=metric.name)
    ours = json_hash(dict(metric.origin))
    labels = {e.arch_key: e.value for e in found if e.value is not None and json_hash(dict(e.origin)) == ours}
    if len(labels) < LEAST:
        raise InvalidStudy(
            f"{metric.name} is known of {len(labels)} architectures; expected at least {LEAST}: run more trials"
        )
    return labels


def _samples(study: StudyFolder, assembly: Assembly, labels: Mapping[str, float]) -> list[Sample]:
    """The labelled architectures of the study's trials, with what the store knows of their scores."""
    space = assembly.bench.space
    trials = study.store.trials(study.record.id)
    archs: dict[str, Arch] = {t.arch_key: space.arch(t.arch) for t in trials if t.arch_key and t.arch}
    known = [arch for key, arch in archs.items() if key in labels]
    found = study.store.evaluations(space.hash, [arch.key for arch in known])
    scores = [e for e in found if e.metric.startswith("score:")]
    return describe(space, known, _by_key(scores, _value), _by_key(scores, _layers))


def _by_key(scores: Sequence[EvaluationRecord], what: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for score in scores:
        found.setdefault(score.arch_key, {})[score.metric.removeprefix("score:")] = what(score)
    return found


def _value(score: EvaluationRecord) -> float:
    return float("nan") if score.value is None else score.value


def _layers(score: EvaluationRecord) -> Mapping[str, float]:
    return score.per_module or {}


def _cross_validated(
    order: Order, base: Path, samples: Sequence[Sample], targets: NDArray[np.float64]
) -> dict[str, float]:
    """How well each fifth is predicted by the rest."""
    predicted = np.full(len(samples), np.nan)
    folds = np.random.default_rng(order.seed).permutation(len(samples)) % FOLDS
    for fold in range(FOLDS):
        rest, held = (np.flatnonzero(part).tolist() for part in (folds != fold, folds == fold))
        predictor = _make(order, base)
        predictor.fit([samples[i] for i in rest], targets[rest], seed=order.seed)
        predicted[held] = predictor.predict([samples[i] for i in held]).mean
    keys = [s.arch.key for s in samples]
    pairs = (dict(zip(keys, numbers, strict=True)) for numbers in (predicted, targets))
    figures = {"kendall_tau": kendall(*pairs)}
    if not predictor.ranks:
        figures["mae"] = float(np.abs(predicted - targets).mean())
    return figures


def _card(
    order: Order,
    assembly: Assembly,
    metric: Metric,
    targets: NDArray[np.float64],
    figures: Mapping[str, float],
) -> Card:
    study, space = assembly.study, assembly.bench.space
    return Card(
        plug_in=order.plug_in,
        space=space.name,
        space_hash=space.hash,
        metric=metric.name,
        unit=metric.unit,
        direction=_direction(assembly, metric),
        data="" if assembly.bench.data is None else assembly.bench.data.name,
        labels=len(targets),
        low=float(targets.min()),
        high=float(targets.max()),
        command=f"nasplat fit predictor {study.path} --predictor {order.plug_in} --metric {metric.name}",
        commit="",
        versions=dict(versions()),
        figures=figures,
    )


def _direction(assembly: Assembly, metric: Metric) -> str:
    """Which way is better, by the page where it says so."""
    said = dict(zip((o.name for o in assembly.plan.objectives), assembly.plan.directions, strict=True))
    return said.get(metric.name, metric.direction or "minimize")
