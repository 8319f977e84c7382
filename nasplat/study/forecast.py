"""How long a study will take on this machine, from a few steps of its work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import TypeVar

import numpy as np

from nasplat.data import Dataset, Split
from nasplat.metric import Candidate, Cost, Metric, Workbench
from nasplat.space import Arch
from nasplat.study.assembly import Assembly
from nasplat.study.method import Training
from nasplat.supernet import Method, Recipe, Settings, TrainingReport, train, train_network

STEPS = 4
"""Training steps that are timed; as many before them warm up."""

R = TypeVar("R", bound=Recipe)


def forecast(assembly: Assembly, archs: Sequence[Arch]) -> dict[str, str]:
    """The time of the supernet's training, of one trial (the median of a few architectures) and of all trials.

    Not counted is what is not known, such as what a function of the user's takes, and what a mixture does between
    phases.
    """
    bench, told = assembly.bench, {}
    if assembly.training is not None:
        told["training"] = _spelled(_supernet_seconds(bench, assembly.training))
        bench.supernet = bench.make_supernet().to(bench.device).eval()
    known = [m for m in assembly.plan.metrics if m.cost < Cost.UNKNOWN]
    each = float(np.median([sum(_seconds(m, bench, arch) for m in known) for arch in archs]))
    told |= {"one trial": _spelled(each), "all trials": _spelled(each * assembly.study.page.study.trials)}
    unknown = [m.name for m in assembly.plan.metrics if m not in known]
    return told | ({"not counted": ", ".join(unknown)} if unknown else {})


def _seconds(metric: Metric, bench: Workbench, arch: Arch) -> float:
    """What a metric takes on an architecture."""
    if metric.cost == Cost.TRAINED:
        return _alone_seconds(bench, Recipe(**metric.origin["recipe"]), arch)
    start = perf_counter()
    metric.measure(Candidate(arch, bench))
    return perf_counter() - start


def _supernet_seconds(bench: Workbench, training: Training) -> float:
    settings = Settings(bench.device, execution=training.table.execution)

    def run(data: Dataset, short: Method) -> TrainingReport:
        net = bench.make_supernet()
        return train(net, data, training.steady(net, bench, short), short, settings)

    return _extrapolated(run, bench.need_data("accuracy"), replace(training.recipe, warmup=0.0))


def _alone_seconds(bench: Workbench, recipe: Recipe, arch: Arch) -> float:
    def run(data: Dataset, short: Recipe) -> TrainingReport:
        return train_network(bench.space.build(arch), data, short, Settings(bench.device))

    return _extrapolated(run, bench.need_data("accuracy"), recipe)


def _extrapolated(run: Callable[[Dataset, R], TrainingReport], data: Dataset, recipe: R) -> float:
    """The seconds of a whole training, from a few steps of it after as many that warm up."""
    n = min(STEPS * recipe.batch_size, len(data.train))
    few = replace(data, train=Split(data.train.inputs[:n], data.train.targets[:n]))
    short = replace(recipe, epochs=1)
    reports = [run(few, short) for _ in range(2)]
    steps_per_epoch = max(1, len(data.train) // recipe.batch_size)  # a small split is one batch
    return reports[-1].seconds / reports[-1].steps * recipe.epochs * steps_per_epoch


def _spelled(seconds: float) -> str:
    for length, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.2g} s"
