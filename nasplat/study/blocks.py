"""A look-up table of latencies from measured operations: what each choice of a space costs on a device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nasplat.errors import InvalidStudy
from nasplat.measure import OperationCosts, measure_operations
from nasplat.metric import Candidate, Workbench, make_metric, versions
from nasplat.prediction import Card, describe, save_predictor
from nasplat.prediction.making import make_predictor
from nasplat.space import Arch
from nasplat.study.assembly import assemble
from nasplat.study.folder import StudyFolder
from nasplat.study.provenance import commit_of, fit_command
from nasplat.supernet.probes.ranks import sampled

PLUG_IN = "latency_table"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BlocksOrder:
    """What to measure.

    networks: random architectures that are summed up, and teach the table. check: so many of them are measured whole
    beside it. batch: inputs that run at once. threads: of torch on the CPU (None keeps the number). device: the study's
    unless it is named.
    """

    networks: int = 200
    check: int = 8
    batch: int = 1
    threads: int | None = None
    device: str | None = None
    seed: int = 0


def fit_blocks(study: StudyFolder, order: BlocksOrder, folder: Path) -> Card:
    """Measure every operation of a space's networks in its place, and write the table of their sums to a folder.

    Networks that run the same operations need no measurement of their own: `measure_operations` times few of them, and
    the latency of any other is a sum. The table is least squares on the sums, exact where what a choice costs
    does not depend on the others. Figures: `operations`; `networks_timed`; `additive_error`, relative, of tables
    of the other networks from the sum of each; `checked`, networks that were measured whole and were not noisy, the
    median of `sum_over_whole`, and of the relative `table_error`, without sign, on these. The deviation that the
    table tells is that from the sums alone.
    InvalidStudy for a space without networks.
    """
    bench = replace(assemble(study, order.device).bench, inherits=False)
    if not bench.space.has_networks:
        raise InvalidStudy(
            f"space {bench.space.name!r} has no networks whose operations could be measured: name one that builds them"
        )
    archs = _archs(bench, order)
    costs, names = measure_operations(
        (bench.space.build(arch) for arch in archs),
        bench.example(order.batch),
        device=bench.device,
        threads=order.threads,
    )
    sums = np.array([costs.total(each) for each in names])
    samples = describe(bench.space, archs)
    table = make_predictor(PLUG_IN, {}).fit(samples, sums, seed=order.seed)
    told = table.predict(samples)
    figures = {"operations": float(len(costs.costs)), "networks_timed": float(costs.networks)}
    figures |= {"additive_error": float(np.median(told.std / told.mean))}
    whole = _measured(bench, archs[max(0, len(archs) - order.check) :], order)
    quiet = np.flatnonzero(np.isfinite(whole)) - len(whole)
    figures |= {"checked": float(len(quiet))}
    if len(quiet):
        figures |= {"sum_over_whole": float(np.median(sums[quiet] / whole[quiet]))}
        figures |= {"table_error": float(np.median(np.abs(told.mean[quiet] / whole[quiet] - 1)))}
    card = _card(study, bench, order, sums, (costs, figures), folder)
    save_predictor(table, card, folder)
    return card


def _archs(bench: Workbench, order: BlocksOrder) -> list[Arch]:
    """Random architectures; those at the end are checked."""
    found = sampled(bench.space, order.networks, order.seed)
    if len(found) < 2:
        raise InvalidStudy(
            f"space {bench.space.name!r} has {len(found)} architecture: nothing to choose from"
        )
    shuffled = np.random.default_rng(order.seed).permutation(len(found))
    return [found[i] for i in shuffled]


def _measured(bench: Workbench, archs: Sequence[Arch], order: BlocksOrder) -> Floats:
    """Milliseconds of whole networks by the metric `latency`; NaN for those that it calls noisy."""
    metric = make_metric("latency", {"batch": order.batch, "threads": order.threads}, bench)
    found = [metric.measure(Candidate(arch, bench)) for arch in archs]
    return np.array([math.nan if m.noisy or m.value is None else m.value for m in found])


def _card(
    study: StudyFolder,
    bench: Workbench,
    order: BlocksOrder,
    sums: Floats,
    found: tuple[OperationCosts, Mapping[str, float]],
    folder: Path,
) -> Card:
    costs, figures = found
    return Card(
        plug_in=PLUG_IN,
        space=bench.space.name,
        space_hash=bench.space.hash,
        metric="latency",
        unit="ms",
        direction="minimize",
        data="",
        labels=len(sums),
        low=float(sums.min()),
        high=float(sums.max()),
        command=fit_command("blocks", study.path, _options(order), folder),
        commit=commit_of(),
        versions=dict(versions()),
        figures=figures,
        device=costs.device.name,
    )


def _options(order: BlocksOrder) -> list[str]:
    threads = [] if order.threads is None else ["--threads", str(order.threads)]
    device = [] if order.device is None else ["--device", order.device]
    counts = {"--networks": order.networks, "--check": order.check, "--batch": order.batch}
    return [*(word for name, n in counts.items() for word in (name, str(n))), *threads, *device]
