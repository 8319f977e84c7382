"""One trial: metrics from cheap to expensive, until a bound, the filter, a pruner or a failure ends it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from nasplat.arguments import ArgumentError
from nasplat.errors import InvalidStudy, MissingExtra, StoreError
from nasplat.metric import Candidate, Measurement, Metric
from nasplat.store import EvaluationRecord, Outcome
from nasplat.study.plan import Plan

_NOT_THE_TRIALS_FAULT = (InvalidStudy, ArgumentError, StoreError, MissingExtra)


class Pruned(Exception):
    """Optuna's pruner ends the trial."""


class Memory(Protocol):
    """What is already known about an architecture, and where costly results go at once."""

    def recall(self, metric: Metric, candidate: Candidate) -> EvaluationRecord | None: ...

    def keep(self, record: EvaluationRecord, candidate: Candidate) -> None: ...


Objection = Callable[[dict[str, float]], str | None]
"""Why an architecture with these values needs no further metric; None where it may go on."""


def evaluate(candidate: Candidate, plan: Plan, memory: Memory, objection: Objection) -> Outcome:
    """Measure a candidate; whatever goes wrong inside is the trial's failure, with its traceback as the reason.

    Only mistakes that every trial would share (a study that makes no sense, a missing package) are raised.
    """
    records: list[EvaluationRecord] = []
    try:
        outcome = _measure(candidate, plan, memory, objection, records)
    except Pruned:
        outcome = Outcome("pruned", error="stopped by the pruner")
    except _NOT_THE_TRIALS_FAULT:
        raise
    except Exception:
        outcome = Outcome("failed", error=traceback.format_exc())
    return replace(outcome, evaluations=records)


def _measure(
    candidate: Candidate,
    plan: Plan,
    memory: Memory,
    objection: Objection,
    records: list[EvaluationRecord],
) -> Outcome:
    found: dict[str, float] = {}
    metrics = plan.metrics
    for metric in metrics:
        record = memory.recall(metric, candidate)
        if record is None:
            record = as_record(metric, metric.measure(candidate))
            memory.keep(record, candidate)
        records.append(record)
        if record.value is None or record.status != "ok":
            return Outcome("failed", error=f"{metric.name}: {record.reason or record.status}")
        found[metric.name] = record.value
        reason = objection(found)
        if reason and metric is not metrics[-1]:
            return Outcome("dropped", constraints=plan.violations(found), error=reason)
    return Outcome("complete", [found[m.name] for m in plan.objectives], plan.violations(found))


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
