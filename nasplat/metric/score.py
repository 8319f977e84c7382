"""Zero-cost scores as metrics: those of one study share their passes over a network."""

from __future__ import annotations

from pathlib import Path

from nasplat.errors import InvalidStudy
from nasplat.metric.candidate import Candidate, Workbench, versions
from nasplat.metric.measurement import Cost, Measurement, Metric
from nasplat.metric.source import source_hash
from nasplat.plugins import load
from nasplat.scoring import Score


def score_metric(bench: Workbench, name: str, base: Path | None, batch: int = 32) -> Metric:
    """A zero-cost score of the untrained network on a batch of training inputs."""
    data = bench.need_data(f"score:{name}")
    plug_in = load("predictors", name, base=base)
    if not isinstance(plug_in, Score):
        raise InvalidStudy(f"{name!r} is no score; see: nasplat list metrics")
    bench.scores.setdefault(batch, {})[plug_in.name] = plug_in

    def measure(candidate: Candidate) -> Measurement:
        result = candidate.scored(batch)[plug_in.name]
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
        "source": source_hash(plug_in.function),
        "data": data.identity,
        **versions(),
    }
    return Metric(f"score:{name}", "1", plug_in.direction, Cost.SCORE, origin, measure)
