"""One trial: metrics from cheap to expensive, until a bound, the filter, a pruner or a failure ends it."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from nasplat.arguments import ArgumentError
from nasplat.errors import InvalidStudy, MissingExtra, StoreError
from nasplat.metric import Candidate, Cost, Measurement, Metric
from nasplat.store import EvaluationRecord, Outcome
from nasplat.study.plan import Plan
from nasplat.study.worker import LeaseLost

_NOT_THE_TRIALS_FAULT = (InvalidStudy, ArgumentError, StoreError, MissingExtra, LeaseLost)


class Pruned(Exception):
    """Optuna's pruner ends the trial."""


class Memory(Protocol):
    """What is already known about an architecture, and where costly results go at once."""

    def recall(self, metric: Metric, candidate: Candidate) -> EvaluationRecord | None: ...

    def keep(self, record: EvaluationRecord, candidate: Candidate) -> bool: ...


Objection = Callable[[dict[str, float]], str | None]
"""Why an architecture with these values needs no further metric; None where it may go on."""


@dataclass(frozen=True, slots=True)
class _Findings:
    """What a trial has found so far: values by metric, and results that are stored when it ends."""

    values: dict[str, float] = field(default_factory=dict)
    unsaved: list[EvaluationRecord] = field(default_factory=list)


def evaluate(candidate: Candidate, plan: Plan, memory: Memory, objection: Objection) -> Outcome:
    """Measure a candidate; whatever goes wrong inside is the trial's failure, with its traceback as the reason.

    Only mistakes that every trial would share (a study that makes no sense, a missing package) are raised, and
    LeaseLost.
    """
    found = _Findings()
    try:
        outcome = _measure(candidate, plan, memory, objection, found)
    except Pruned:
        outcome = Outcome("pruned", error="stopped by the pruner")
    except _NOT_THE_TRIALS_FAULT:
        raise
    except Exception:
        outcome = Outcome("failed", error=traceback.format_exc())
    return replace(outcome, evaluations=found.unsaved, user_attrs=plan.notes(found.values))


def _measure(
    candidate: Candidate,
    plan: Plan,
    memory: Memory,
    objection: Objection,
    found: _Findings,
) -> Outcome:
    metrics, values = plan.metrics, found.values
    candidate.stored = partial(_stored, metrics, memory)
    for metric in metrics:
        record = memory.recall(metric, candidate)
        if record is None:
            record = as_record(metric, metric.measure(candidate))
            if not memory.keep(record, candidate):
                found.unsaved.append(record)
        if record.value is None or record.status != "ok":
            if not plan.only_filters(metric):
                return Outcome("failed", error=f"{metric.name}: {record.reason or record.status}")
            values[metric.name] = math.nan
        else:
            values[metric.name] = record.value
        reason = objection(values)
        if reason and metric is not metrics[-1]:
            return Outcome("dropped", constraints=plan.violations(values), error=reason)
    return Outcome("complete", [values[m.name] for m in plan.objectives], plan.violations(values))


def _stored(metrics: Sequence[Metric], memory: Memory, candidate: Candidate) -> list[str]:
    """The scores whose values are known: looked up when a pass is to be run for the others."""
    scores = (metric for metric in metrics if metric.cost is Cost.SCORE)
    return [m.name.removeprefix("score:") for m in scores if memory.recall(m, candidate) is not None]


def as_record(metric: Metric, measurement: Measurement) -> EvaluationRecord:
    """A measurement as the store keeps it: with unit and origin."""
    return EvaluationRecord(
        metric=metric.name,
        value=measurement.value,
        unit=metric.unit,
        origin=dict(metric.origin),
        spread=measurement.spread,
        n=measurement.n,
        noisy=measurement.noisy,
        seconds=measurement.seconds,
        status=measurement.status,
        reason=measurement.reason,
        per_module=measurement.per_module,
    )
