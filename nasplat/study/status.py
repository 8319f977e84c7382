"""How far a study is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from nasplat.store import StudyRecord, TrialRecord
from nasplat.study.folder import StudyFolder


def status_of(study: StudyFolder) -> dict[str, Any]:
    """Trials by state, their share of the page's number, workers, best values, looks of probes, reasons of failures."""
    record = study.record
    trials = study.store.trials(record.id)
    counts = Counter(t.state for t in trials)
    done = sum(counts[s] for s in ("complete", "failed", "pruned"))
    running = [t for t in trials if t.state == "running"]
    return {
        "study": record.name,
        "space": f"{record.space.name}, hash {record.space.hash[:12]}" if record.space else None,
        "trials": f"{done} of {study.page.study.trials} done",
        "states": dict(counts),
        "workers": sorted({t.worker for t in running if t.worker}),
        "best": _best(record, trials),
        "observations": dict(Counter(seen.probe for seen in study.store.observations(record.id))),
        "reasons": _reasons(trials),
        "next": f"nasplat front {study.path}" if counts["complete"] else f"nasplat run {study.path}",
    }


def _best(record: StudyRecord, trials: Sequence[TrialRecord]) -> dict[str, float]:
    """The best value of each objective alone, among complete trials that keep all constraints."""
    values = [
        t.values
        for t in trials
        if t.state == "complete" and t.values and all(v <= 0 for v in t.constraints.values())
    ]
    if not values:
        return {}
    columns = zip(record.objectives, record.directions, zip(*values, strict=True), strict=True)
    return {name: max(c) if direction == "maximize" else min(c) for name, direction, c in columns}


def _reasons(trials: Sequence[TrialRecord], most: int = 5) -> dict[str, int]:
    """Why trials failed or were dropped: the bounds that were broken or the last line of the error, and how often."""
    told = Counter(f"{t.state}: {_reason(t)}" for t in trials if t.error and t.state in ("failed", "dropped"))
    return dict(told.most_common(most))


def _reason(trial: TrialRecord) -> str:
    broken = [f"breaks {bound}" for bound, violation in trial.constraints.items() if violation > 0]
    return ", ".join(broken) or (trial.error or "").strip().splitlines()[-1]
