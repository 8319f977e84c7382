"""Which evaluations a trial rests on. An architecture's evaluations are shared by all studies of a store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from nasplat.store import EvaluationRecord


def evidence(
    evaluations: Iterable[EvaluationRecord], asked: Collection[str], values: Mapping[str, float]
) -> list[EvaluationRecord]:
    """Of an architecture's evaluations (superseded ones too) those that belong to a trial with these objectives.

    `asked` names the metrics of the study. An objective is the evaluation with just this value: others are of other
    devices or weights, and a noisy latency that another study has measured again since stays the one that this trial
    was judged by. Any other metric is its current value.
    """

    def belongs(e: EvaluationRecord) -> bool:
        return e.value == values[e.metric] if e.metric in values else e.current

    return [e for e in evaluations if e.metric in asked and belongs(e)]
