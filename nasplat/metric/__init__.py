"""What a study optimises, bounds and shows: named numbers of one architecture, each with unit and origin."""

from nasplat.metric.candidate import Candidate, Workbench, versions
from nasplat.metric.measurement import Cost, Measurement, Metric
from nasplat.metric.metrics import METRICS, make_metric, metric_names
from nasplat.metric.source import source_hash

__all__ = [
    "METRICS",
    "Candidate",
    "Cost",
    "Measurement",
    "Metric",
    "Workbench",
    "make_metric",
    "metric_names",
    "source_hash",
    "versions",
]
