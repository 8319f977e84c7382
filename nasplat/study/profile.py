"""What to expect of a study before anything is trained: sizes, latency, constraints, time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nasplat.measure import Repeats, count_macs, count_params, measure_latency
from nasplat.metric import Workbench
from nasplat.space import Arch
from nasplat.study.folder import StudyFolder
from nasplat.study.forecast import forecast
from nasplat.study.plan import Bound
from nasplat.study.session import Session, open_session

LATENCY_SAMPLES = 10
"""Architectures whose latency is measured; each takes about half a second."""


def profile(study: StudyFolder, samples: int, device: str | None) -> Mapping[str, Any]:
    """Sizes over `samples` random architectures (with the smallest and the largest), latency of a few of them, the
    share that meets each constraint, and the time that the study will take on this machine.

    Nothing is stored. Latencies are of untrained networks, which take as long as trained ones.
    """
    session = open_session(study, device)
    bench, rng = session.bench, np.random.default_rng(study.page.study.seed)
    archs = [
        bench.space.smallest(),
        bench.space.largest(),
        *(bench.space.sample(rng) for _ in range(samples)),
    ]
    sizes, latencies = _sizes(bench, archs), _latencies(bench, archs[: LATENCY_SAMPLES + 2])
    return {
        "space": {
            "name": bench.space.name,
            "architectures": bench.space.size,
            "choices": len(bench.space.choices),
        },
        "smallest, median, largest": {
            **{name: _spread(values) for name, values in sizes.items()},
            f"latency on {bench.device} (ms)": _spread(latencies),
        },
        "constraints": _constraints(session, sizes | {"latency": latencies}),
        "time (estimate)": forecast(session, archs[2:5]),
    }


def _sizes(bench: Workbench, archs: Sequence[Arch]) -> dict[str, list[float]]:
    networks = [bench.space.build(arch) for arch in archs]
    example = bench.example()
    return {
        "params": [float(count_params(network)) for network in networks],
        "macs": [float(count_macs(network, example)) for network in networks],
    }


def _latencies(bench: Workbench, archs: Sequence[Arch]) -> list[float]:
    quick = Repeats(budget_s=0.3)
    return [
        measure_latency(
            bench.space.build(arch), bench.example(), device=bench.device, repeats=quick
        ).median_ms
        for arch in archs
    ]


def _spread(values: Sequence[float]) -> list[float]:
    """Of the smallest architecture, the median of all, and of the largest."""
    return [values[0], float(np.median(values)), values[1]]


def _constraints(session: Session, known: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """For each bound the share of sampled architectures that keep it, and whether that can be told at all."""
    told = {}
    for bound in session.plan.bounds:
        values = known.get(bound.metric.name)
        told[str(bound)] = "is known only after training" if values is None else _share(bound, values)
    return told or {"none": "every architecture may be reported"}


def _share(bound: Bound, values: Sequence[float]) -> str:
    kept = sum(bound.violation(v) <= 0 for v in values)
    if kept:
        return f"can be met: {kept} of {len(values)} sampled architectures do"
    return (
        f"is met by none of {len(values)} sampled architectures; they have {min(values):g} to {max(values):g}"
    )
