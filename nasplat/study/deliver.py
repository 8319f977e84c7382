"""From a trial back to its network, as files that load without nasplat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from nasplat.data import evaluate
from nasplat.errors import InvalidStudy, StoreError
from nasplat.export import Bundle, export_network
from nasplat.metric import make_metric
from nasplat.space import Arch
from nasplat.store import EvaluationRecord
from nasplat.study.assembly import Assembly, assemble
from nasplat.study.folder import StudyFolder
from nasplat.study.shelf import Shelf
from nasplat.study.supernet import load_supernet
from nasplat.study.trial import Trial


def export_trial(
    study: StudyFolder, number: int, folder: Path, formats: Sequence[str], overwrite: bool
) -> Bundle:
    """Export the network of a complete trial; see `Study.export`.

    The card tells the trial's own numbers with their origins, and the metric on the test split, which no search saw.
    """
    assembly = assemble(study, device="cpu")
    trial = Trial(study, number)
    arch = assembly.bench.space.arch(trial.arch)
    data = assembly.bench.need_data("export")
    network = _network(assembly, trial, arch)
    card = {
        "study": study.name,
        "trial": number,
        "architecture": {"space": assembly.bench.space.name, "key": arch.key, "choices": arch.to_json()},
        **_numbers(trial),
        "test": {data.task.metric: evaluate(network, data.test, data.task), "unit": data.task.unit},
    }
    validation = data.validation
    return export_network(
        network,
        folder,
        formats=formats,
        inputs=validation.inputs,
        targets=validation.targets,
        task=data.task,
        card=card,
        overwrite=overwrite,
    )


def _network(assembly: Assembly, trial: Trial, arch: Arch) -> nn.Module:
    """The network of an architecture with the weights that the study gave it, in evaluation mode on the CPU."""
    study, bench = assembly.study, assembly.bench
    shelf = Shelf(study.store, study.record.id, study.folder, study.name)
    if assembly.training is not None:
        load_supernet(bench, shelf, assembly.training)
        return bench.inherited(arch)
    network = shelf.trained(bench.space, arch, _training(assembly, trial))
    if network is None:
        raise StoreError(
            f"the weights of trial {trial.number} are gone from {shelf.path('')}; "
            f"copy them back, or run the study under another name to train it again"
        )
    return network


def _training(assembly: Assembly, trial: Trial) -> Mapping[str, Any]:
    """The origin of the metric that the trial's network was trained for, as the page asks for it."""
    page, bench = assembly.study.page, assembly.bench
    metric = bench.need_data("export").task.metric
    asked = [o.arguments for o in page.objective if o.metric == metric]
    asked += [c.arguments for c in page.constraint if c.metric == metric]
    if not asked:
        raise InvalidStudy(
            f"study {assembly.study.name!r} trains no networks, so there are no weights to export; "
            f"make {metric!r} an objective, or add a [supernet] table"
        )
    recipe = make_metric(metric, asked[0], bench).origin["recipe"]
    found = [e.origin for e in trial.evaluations if e.metric == metric and e.origin.get("recipe") == recipe]
    if not found:
        raise InvalidStudy(f"trial {trial.number} was not trained as the page says now; choose another trial")
    return found[-1]


def _numbers(trial: Trial) -> dict[str, Any]:
    """The trial's evaluations as a card shows them; a latency has a place of its own."""
    found: dict[str, Any] = {"metrics": {}}
    for evaluation in trial.evaluations:
        if evaluation.metric == "latency":
            found["latency"] = _latency(evaluation)
        else:
            found["metrics"][evaluation.metric] = {
                "value": evaluation.value,
                "unit": evaluation.unit,
                "origin": dict(evaluation.origin),
            }
    return found


def _latency(evaluation: EvaluationRecord) -> Mapping[str, Any]:
    return {
        "median_ms": evaluation.value,
        "iqr_ms": evaluation.spread,
        "n": evaluation.n,
        "noisy": evaluation.noisy,
        "device": evaluation.origin["machine"]["name"],
        "origin": dict(evaluation.origin),
    }
