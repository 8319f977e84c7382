"""What to expect of a study before anything is trained: sizes, latency, constraints, time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from nasplat.measure import count_macs, count_params
from nasplat.metric import Candidate, Cost, Metric, Workbench, make_metric
from nasplat.space import Arch
from nasplat.study.assembly import Assembly, assemble
from nasplat.study.folder import StudyFolder
from nasplat.study.forecast import forecast
from nasplat.study.method import Training, elastic
from nasplat.study.plan import Bound, Plan

LATENCY_SAMPLES = 3
"""Random architectures whose latency is measured; each takes a second or two, or a few where the machine is busy."""


def profile(study: StudyFolder, samples: int, device: str | None) -> Mapping[str, Any]:
    """Sizes over `samples` random architectures (with the smallest and the largest), latency of a few of them, the
    share that meets each constraint, how networks are trained, and the time that the study will take on this machine.

    Nothing is stored. Latency is the study's own metric where it asks for one, else that of one input on the study's
    device; networks are untrained, which take as long as trained ones.
    """
    assembly = assemble(study, device)
    bench, rng = assembly.bench, np.random.default_rng(study.page.study.seed)
    archs = [
        bench.space.smallest(),
        bench.space.largest(),
        *(bench.space.sample(rng) for _ in range(samples)),
    ]
    known, shown = _measured(assembly, archs) if bench.space.has_networks else _looked_up(assembly, archs)
    return {
        "space": {
            "name": bench.space.name,
            "architectures": bench.space.size,
            "choices": len(bench.space.choices),
        },
        **shown,
        "constraints": _constraints(assembly, known),
        **training_in_effect(assembly),
        "time (estimate)": forecast(assembly, archs[2:5]),
    }


Numbers = Mapping[str, Sequence[float]]
"""Values of sampled architectures by metric."""


def _measured(assembly: Assembly, archs: Sequence[Arch]) -> tuple[Numbers, dict[str, Any]]:
    """Sizes of networks and latencies of a few of them, and what to show of both."""
    bench = assembly.bench
    latency = _latency(assembly.plan, bench)
    sizes, latencies = _sizes(bench, archs), _values(latency, bench, archs[: LATENCY_SAMPLES + 2])
    shown = {name: _spread(values) for name, values in {**sizes, _labelled(latency): latencies}.items()}
    return {**sizes, "latency": latencies}, {"smallest, median, largest": shown}


def _looked_up(assembly: Assembly, archs: Sequence[Arch]) -> tuple[Numbers, dict[str, Any]]:
    """What tables say of architectures that are rows only."""
    tables = [metric for metric in assembly.plan.metrics if metric.cost is Cost.LOOKUP]
    known = {metric.name: _values(metric, assembly.bench, archs) for metric in tables}
    shown = {name: [min(v), float(np.median(v)), max(v)] for name, v in known.items() if v}
    return known, {"least, median, most": shown}


def training_in_effect(assembly: Assembly) -> dict[str, dict[str, Any]]:
    """How networks are trained: the recipe in effect, with the defaults of the space and of the method."""
    if assembly.training is not None:
        table = assembly.training.table
        how = {"method": table.method, **asdict(assembly.training.recipe), "execution": table.execution}
        how["calibration_batches"] = table.calibration_batches
        return {"supernet": how, **_sharing(assembly.training, assembly.bench)}
    alone = [m.origin["recipe"] for m in assembly.plan.metrics if m.cost is Cost.TRAINED]
    return {"training alone": alone[0]} if alone else {}


def _sharing(training: Training, bench: Workbench) -> dict[str, dict[str, Any]]:
    """How weights are shared and what that costs, where the page says it; memory in MiB."""
    if training.plain:
        return {}
    cost = training.cost(elastic(bench.space))
    figures = {
        "parameters": cost.parameters,
        "times plain slicing": round(cost.ratio, 3),
        "training (MiB)": round(cost.training_bytes / 2**20, 2),
        "multiply-adds of merging": cost.merge_macs,
    }
    return {f"weights shared by {training.kind}": asdict(training.mixture) | figures}


def _sizes(bench: Workbench, archs: Sequence[Arch]) -> dict[str, list[float]]:
    networks = [bench.space.build(arch) for arch in archs]
    example = bench.example()
    return {
        "params": [float(count_params(network)) for network in networks],
        "macs": [float(count_macs(network, example)) for network in networks],
    }


def _latency(plan: Plan, bench: Workbench) -> Metric:
    """The study's latency; one with default arguments where it has none."""
    asked = (metric for metric in plan.metrics if metric.name == "latency")
    return next(asked, None) or make_metric("latency", {}, bench)


def _labelled(latency: Metric) -> str:
    machine, batch = latency.origin["machine"]["name"], latency.origin["batch"]
    return f"latency on {machine}, batch {batch} (ms)"


def _values(metric: Metric, bench: Workbench, archs: Sequence[Arch]) -> list[float]:
    fresh = replace(bench, inherits=False)
    found = (metric.measure(Candidate(arch, fresh)).value for arch in archs)
    return [value for value in found if value is not None]


def _spread(values: Sequence[float]) -> list[float]:
    """Of the smallest architecture, the median of all, and of the largest."""
    return [values[0], float(np.median(values)), values[1]]


def _constraints(assembly: Assembly, known: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """For each bound the share of sampled architectures that keep it, and whether that can be told at all."""
    told = {}
    for bound in assembly.plan.bounds:
        values = known.get(bound.metric.name)
        when = "after training" if bound.metric.cost in (Cost.INHERITED, Cost.TRAINED) else "in a run"
        told[str(bound)] = f"is known only {when}" if values is None else _share(bound, values)
    return told or {"none": "every architecture may be reported"}


def _share(bound: Bound, values: Sequence[float]) -> str:
    if not values:
        return "cannot be told: no sampled architecture has a value"
    kept = sum(bound.violation(v) <= 0 for v in values)
    if kept:
        return f"can be met: {kept} of {len(values)} sampled architectures do"
    return (
        f"is met by none of {len(values)} sampled architectures; they have {min(values):g} to {max(values):g}"
    )
