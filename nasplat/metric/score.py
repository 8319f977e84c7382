"""Zero-cost scores as metrics: those of one study share their passes over a network."""

from __future__ import annotations

from pathlib import Path

from nasplat.metric.candidate import Candidate, Workbench, versions
from nasplat.metric.measurement import Cost, Measurement, Metric
from nasplat.metric.source import passes_hash, source_hash
from nasplat.scoring import BATCH, Score, ScoreResult, load_scores


def score_metric(bench: Workbench, name: str, base: Path | None, batch: int = BATCH) -> Metric:
    """A zero-cost score of the untrained network on a batch of training inputs.

    Without data, scores that see no more than the shape of the inputs are still there.
    """
    (entry,) = load_scores([name], base)
    if reads_data(entry):
        bench.need_data(f"score:{name}")
    bench.scores.setdefault(batch, {})[name] = entry

    def measure(candidate: Candidate) -> Measurement:
        return measured(candidate.scored(batch, [name])[name])

    origin = {
        "protocol": "zero-cost score",
        "batch": batch,
        "seed": bench.seed,
        "source": source_hash(entry.function),
        "passes": passes_hash(),
        "data": bench.data.identity if bench.data is not None else {"shape": list(bench.example().shape[1:])},
        **versions(),
    }
    return Metric(f"score:{name}", "1", entry.direction, Cost.SCORE, origin, measure)


def measured(result: ScoreResult) -> Measurement:
    """What a score answered, as a metric's measurement."""
    return Measurement(
        result.value if result.status == "ok" else None,
        result.seconds,
        status=result.status,
        reason=result.reason,
        per_module=result.per_module,
    )


def reads_data(entry: Score) -> bool:
    """Whether the values of inputs or labels count, and not only their shapes."""
    return not entry.needs.isdisjoint({"data", "labels"})
