"""A study as tables: every trial, and the front of those that do not dominate each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from nasplat.pareto import knee, nondominated
from nasplat.store import EvaluationRecord, ObservationRecord, Store, StudyRecord, TrialRecord
from nasplat.study.evidence import evidence


def trial_frame(store: Store, study: StudyRecord, asked: Collection[str]) -> pd.DataFrame:
    """One row a trial, by number; `asked` names the study's metrics.

    Columns: number, state, one per objective, `<metric>_iqr` where a metric is measured repeatedly, one per further
    metric that was asked, `noisy`, `device`, `feasible`, `on_front`, `knee`, `seconds` (of all its measurements),
    `arch_key`, `reason`.
    """
    trials = store.trials(study.id)
    evaluations = _by_architecture(store, study)
    rows = []
    for trial in trials:
        values = dict(zip(study.objectives, trial.values, strict=True)) if trial.values else {}
        rows.append(_row(trial, values, evidence(evaluations.get(trial.arch_key or "", ()), asked, values)))
    frame = pd.DataFrame(rows, columns=_columns(study.objectives, rows))
    return _with_front(frame, study)


def front_frame(frame: pd.DataFrame, objectives: Sequence[str]) -> pd.DataFrame:
    """The rows of the front, ordered by the last objective, without what is the same for all of them."""
    front = frame[frame["on_front"]].sort_values([objectives[-1], "number"])
    return front.drop(columns=["state", "on_front", "feasible", "reason"]).reset_index(drop=True)


def _by_architecture(store: Store, study: StudyRecord) -> dict[str, list[EvaluationRecord]]:
    found: dict[str, list[EvaluationRecord]] = {}
    for evaluation in store.evaluations(study.space.hash if study.space else "", superseded=True):
        found.setdefault(evaluation.arch_key, []).append(evaluation)
    return found


def _row(
    trial: TrialRecord, values: Mapping[str, float], evaluations: Sequence[EvaluationRecord]
) -> dict[str, object]:
    row: dict[str, object] = {
        "number": trial.number,
        "state": trial.state,
        "arch_key": trial.arch_key,
        "feasible": all(v <= 0 for v in trial.constraints.values()),
        "reason": (trial.error or "").strip().split("\n")[-1],
        "noisy": False,
        "seconds": 0.0,
    }
    for evaluation in evaluations:
        row |= _measured(evaluation, row)
    return row | dict(values)


def _measured(evaluation: EvaluationRecord, row: Mapping[str, object]) -> dict[str, object]:
    name = evaluation.metric
    measured: dict[str, object] = {name: evaluation.value, "seconds": row["seconds"] + evaluation.seconds}  # type: ignore[operator]
    if evaluation.spread is not None:
        measured[f"{name}_iqr"] = evaluation.spread
        measured["noisy"] = row["noisy"] or evaluation.noisy
    if "machine" in evaluation.origin:
        measured["device"] = evaluation.origin["machine"]["name"]
    return measured


def _columns(objectives: Sequence[str], rows: Sequence[Mapping[str, object]]) -> list[str]:
    last = ["noisy", "device", "feasible", "seconds", "arch_key", "reason"]
    found = dict.fromkeys(key for row in rows for key in row)
    metrics = [c for o in objectives for c in (o, f"{o}_iqr") if c in found or c == o]
    others = [key for key in found if key not in {*metrics, *last, "number", "state"}]
    return ["number", "state", *metrics, *sorted(others), *last]


def _with_front(frame: pd.DataFrame, study: StudyRecord) -> pd.DataFrame:
    """Mark the front among complete, feasible trials, and its knee."""
    frame["on_front"] = frame["knee"] = False
    usable = frame.index[(frame["state"] == "complete") & frame["feasible"].astype(bool)]
    if len(usable):
        values = frame.loc[usable, list(study.objectives)].to_numpy(dtype=float)
        front = usable[nondominated(values, study.directions)]
        frame.loc[front, "on_front"] = True
        of_front = frame.loc[front, list(study.objectives)].to_numpy(dtype=float)
        frame.loc[front[knee(of_front, study.directions)], "knee"] = True
    return frame


def probe_frame(observations: Sequence[ObservationRecord]) -> pd.DataFrame:
    """One row a number that a probe saw, in the order of trainings, probes and epochs.

    Columns: supernet (the start of the hash in the name of its file), probe, epoch, name ("largest.mean_shift": what
    is nested is joined by dots), value (NaN where there is none), unit.
    """
    rows = [
        (seen.origin_hash[:12], seen.probe, seen.epoch, name, value, seen.unit)
        for seen in observations
        for name, value in _numbers(seen.values)
    ]
    frame = pd.DataFrame(rows, columns=["supernet", "probe", "epoch", "name", "value", "unit"])
    return frame.astype({"epoch": "int64", "value": "float64"})


def _numbers(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        yield from _numbers({str(number): inner for number, inner in enumerate(value)}, name)
    else:
        yield name, value


def as_objects(frame: pd.DataFrame) -> list[dict[str, object]]:
    """The rows as plain JSON objects; what is not there is null."""
    clean = frame.astype(object).where(frame.notna(), None)
    return [{str(k): _plain(v) for k, v in row.items()} for row in clean.to_dict("records")]


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value
