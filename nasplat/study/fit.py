"""Learn a predictor from what a study has measured, and keep it as files that a study can name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasplat.errors import InvalidStudy
from nasplat.metric import Metric, versions
from nasplat.prediction import Card, Predictor, Sample, describe, graphs_for, save_predictor
from nasplat.prediction.making import asked_of, check_name
from nasplat.scoring import BATCH
from nasplat.space import Arch, ArchGraph, Space
from nasplat.store import EvaluationRecord
from nasplat.study.assembly import Assembly, assemble
from nasplat.study.folder import StudyFolder
from nasplat.study.frames import trial_frame
from nasplat.study.pool import beginner
from nasplat.study.provenance import command_of, commit_of
from nasplat.study.run import Watcher
from nasplat.study.scorebook import Found
from nasplat.study.scores import Question, scored
from nasplat.supernet.probes import kendall

FOLDS = 5
LEAST = 10
"""Labels without which nothing is learned: two for each fold."""
FEW = 2
"""The same where a pool of known devices says most of it."""

READ = (
    *("params", "macs", "l2_norm", "grad_norm", "snip", "plain", "fisher", "jacov", "epe_nas", "nwot"),
    "synflow",
)
"""The scores that a predictor reads unless others are asked for: those of one forward and two backward passes."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to learn: the plug-in with its arguments, and the study's metric that it is to predict.

    scores: those that the predictor reads; None for READ, if it reads any and the study has data and networks to
    compute them from. batch: the inputs that each of them sees. pool: the folder, or the name, of a pool of known
    devices that the predictor begins with.
    """

    plug_in: str
    metric: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    scores: tuple[str, ...] | None = None
    batch: int = BATCH
    seed: int = 0
    pool: str | None = None

    @property
    def least(self) -> int:
        """Labels without which nothing is learned."""
        return LEAST if self.pool is None else FEW


def fit_predictor(study: StudyFolder, order: Order, folder: Path, watcher: Watcher | None = None) -> Card:
    """Fit on every finished architecture of the study and write weights and card to a folder.

    Scores that the predictor reads are computed first where the store lacks them. The card's figures are those of
    5-fold cross-validation, where all architectures that are one function are held out together: `kendall_tau`, and
    `mae` in the metric's unit. With a pool, fewer than five functions are held out one by one.
    """
    assembly = assemble(study)
    metric, space = _metric(assembly, order.metric), assembly.bench.space
    make = partial(beginner, order, space)
    predictor = make()
    labels = _labels(study, metric, order.least)
    question = _question(assembly, predictor, order)
    scores = {} if question is None else scored(assembly, question, watcher)
    samples = _samples(study, space, labels, scores, graphs_for(predictor.needs, space))
    targets = np.array([labels[sample.arch.key] for sample in samples])
    folds = _folds([space.notation.function_key(sample.arch) for sample in samples], order)
    with asked_of(order.plug_in, "fit"):
        figures = _cross_validated(make, samples, targets, folds, order.seed)
        predictor.fit(samples, targets, seed=order.seed)
    card = _card(order, assembly, metric, targets, figures)
    card = replace(card, command=command_of(study.path, order, folder), commit=commit_of())
    if question is not None:
        card = replace(card, scores=question.names, batch=question.batch)
    with asked_of(order.plug_in, "give its state"):
        save_predictor(predictor, card, folder)
    return card


def _metric(assembly: Assembly, name: str) -> Metric:
    known = {metric.name: metric for metric in assembly.plan.metrics}
    if name not in known:
        raise InvalidStudy(f"the study does not measure {name!r}; it measures: {', '.join(known)}")
    return known[name]


def _labels(study: StudyFolder, metric: Metric, least: int) -> dict[str, float]:
    """The metric's numbers by architecture, as the study's table shows them."""
    frame = trial_frame(study.store, study.record, study.page.metrics)
    known = frame[frame["state"].eq("complete") & frame[metric.name].notna()]
    if len(known) < least:
        raise InvalidStudy(
            f"{metric.name} is known of {len(known)} architectures; expected at least {least}: run more trials"
        )
    return dict(zip(known["arch_key"], known[metric.name].astype(float), strict=True))


def _question(assembly: Assembly, predictor: Predictor, order: Order) -> Question | None:
    """The scores to ask for; None where there are none to read, InvalidStudy where some were asked for all the same."""
    for name in order.scores or ():
        check_name("score", name)
    lacking = _lacking(assembly, predictor, order.plug_in)
    if lacking is None:
        return Question(READ if order.scores is None else order.scores, of_trials=True, batch=order.batch)
    if order.scores is not None:
        raise InvalidStudy(f"{lacking}: fit without scores {','.join(order.scores)}")
    return None


def _lacking(assembly: Assembly, predictor: Predictor, name: str) -> str | None:
    """Why the predictor gets no scores; None where it gets them."""
    space = assembly.bench.space
    if not predictor.needs & {"scores", "layers"}:
        return f"predictor {name!r} with these arguments reads no scores"
    if not space.has_networks:
        return f"space {space.name!r} has no networks whose scores could be read"
    if assembly.bench.data is None:
        return "the study has no [data] that scores could see"
    return None


def _samples(
    study: StudyFolder,
    space: Space,
    labels: Mapping[str, float],
    scores: Mapping[Arch, Found],
    graphs: Callable[[Arch], ArchGraph] | None,
) -> list[Sample]:
    """The labelled architectures of the study's trials, with their scores where these were asked for."""
    trials = study.store.trials(study.record.id)
    archs = {t.arch_key: space.arch(t.arch) for t in trials if t.arch_key in labels and t.arch is not None}
    values = {a.key: {n: _value(r) for n, r in found.items()} for a, found in scores.items()}
    layers = {a.key: {n: r.per_module or {} for n, r in found.items()} for a, found in scores.items()}
    return describe(space, list(archs.values()), values, layers, graphs)


def _value(score: EvaluationRecord) -> float:
    return math.nan if score.value is None else score.value


def _folds(functions: Sequence[str], order: Order) -> NDArray[np.int64]:
    """The fold of each architecture, (n,): those that are one function lie in one, or the answer would be known."""
    names, group = np.unique(functions, return_inverse=True)
    least = min(FOLDS, order.least)
    if len(names) < least:
        raise InvalidStudy(
            f"the {len(functions)} architectures are {len(names)} functions; expected at least {least} that differ: "
            "run more trials"
        )
    return (np.random.default_rng(order.seed).permutation(len(names)) % FOLDS)[group]


def _cross_validated(
    make: Callable[[], Predictor],
    samples: Sequence[Sample],
    targets: NDArray[np.float64],
    folds: NDArray[np.int64],
    seed: int,
) -> dict[str, float]:
    """How well each fold is predicted by the rest."""
    predicted = np.full(len(samples), np.nan)
    for fold in np.unique(folds):
        rest, held = (np.flatnonzero(part).tolist() for part in (folds != fold, folds == fold))
        predictor = make().fit([samples[i] for i in rest], targets[rest], seed=seed)
        predicted[held] = predictor.predict([samples[i] for i in held]).mean
    keys = [s.arch.key for s in samples]
    pairs = (dict(zip(keys, numbers, strict=True)) for numbers in (predicted, targets))
    return {"kendall_tau": kendall(*pairs), "mae": float(np.abs(predicted - targets).mean())}


def _card(
    order: Order,
    assembly: Assembly,
    metric: Metric,
    targets: NDArray[np.float64],
    figures: Mapping[str, float],
) -> Card:
    space = assembly.bench.space
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
        command="",
        commit="",
        versions=dict(versions()),
        figures=figures,
        device=str(metric.origin.get("machine", {}).get("name", "")),
    )


def _direction(assembly: Assembly, metric: Metric) -> str:
    """Which way is better, by the page where it says so."""
    said = dict(zip((o.name for o in assembly.plan.objectives), assembly.plan.directions, strict=True))
    return said.get(metric.name, metric.direction or "minimize")
