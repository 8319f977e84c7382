"""Zero-cost scores as metrics: those of one study share their passes over a network."""

from __future__ import annotations

from pathlib import Path

from nasplat.metric.candidate import Candidate, Workbench, versions
from nasplat.metric.measurement import Cost, Measurement, Metric
from nasplat.metric.source import passes_hash, source_hash
from nasplat.scoring import BATCH, load_scores


def score_metric(bench: Workbench, name: str, base: Path | None, batch: int = BATCH) -> Metric:
    """A zero-cost score of the untrained network on a batch of training inputs."""
    data = bench.need_data(f"score:{name}")
    (entry,) = load_scores([name], base)
    bench.scores.setdefault(batch, {})[name] = entry

    def measure(candidate: Candidate) -> Measurement:
        result = candidate.scored(batch)[name]
        return Measurement(
            result.value,
            result.seconds,
            status=result.status,
            reason=result.reason,
            per_module=result.per_module,
        )

    origin = {
        "protocol": "zero-cost score",
        "batch": batch,
        "seed": bench.seed,
        "source": source_hash(entry.function),
        "passes": passes_hash(),
        "data": data.identity,
        **versions(),
    }
    return Metric(f"score:{name}", "1", entry.direction, Cost.SCORE, origin, measure)
