"""Fit a metanetwork that prunes: train its data models, train it, keep it as files that `--metanet` names."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter

from torch import nn

from nasplat.data import Dataset, derived_seed, load_data
from nasplat.errors import InvalidStudy, NasplatError
from nasplat.measure import pick_device
from nasplat.prune.meta import Card, Epoch, Losses, MetaTask, Pruner, cross_entropies, train_pruner
from nasplat.prune.meta.judging import PrunedAccuracy
from nasplat.study.provenance import commit_of
from nasplat.study.pruning.claim import claim
from nasplat.study.pruning.page import MetanetPage
from nasplat.study.pruning.training import trained_networks
from nasplat.study.run import Silence, Watcher
from nasplat.supernet import Recipe, Settings, train_network


@dataclass(frozen=True, slots=True)
class FittedMetanet:
    """A metanetwork in a folder, and the seconds of this call: of its data models, and of itself."""

    folder: Path
    pruner: Pruner
    models_seconds: float
    seconds: float


def fit_metanet(
    page: MetanetPage, folder: Path | None = None, device: str = "cpu", watcher: Watcher | None = None
) -> FittedMetanet:
    """Learn to prune from the trained networks that a page names; the folder is the page's name unless it is given.

    Validation data choose the epoch; the test split is not looked at. The same call goes on where one was interrupted:
    networks that are trained are not trained again, and meta-training goes on after the last whole epoch.
    device: where all of this computes; what is kept is on the CPU.
    """
    watcher, folder = watcher or Silence(), folder or page.path.with_suffix("")
    pick_device(device)
    data, known = _data(page), _known(folder)
    losses = _losses(page, data)  # what makes no sense must not cost the training of networks
    start = perf_counter()
    modules = trained_networks(page, data, folder, device, watcher)
    models_seconds, start = perf_counter() - start, perf_counter()
    claim(
        folder / "judging.json",
        {"losses": asdict(page.losses), "judge": asdict(page.judge), "data": data.identity},
    )
    task = _task(page, data, modules, losses, device)
    pruner = train_pruner(task, folder, page.settings, _teller(page, watcher), device)
    command, commit = _command(page, folder, device), commit_of()
    if known is not None and known.commit and known.epochs == pruner.card.epochs:  # nothing was trained now
        command, commit = known.command, known.commit
    pruner = replace(pruner, card=replace(pruner.card, command=command, commit=commit))
    pruner.save(folder)
    return FittedMetanet(folder, pruner, models_seconds, perf_counter() - start)


def _data(page: MetanetPage) -> Dataset:
    arguments = {name: value for name, value in page.data.items() if name != "name"}
    data = load_data(page.data["name"], base=page.folder, **arguments)
    if data.task.metric != "accuracy":
        raise InvalidStudy(
            f"{page.path}: metanetworks learn from classifiers, {data.name} is for {data.task.metric}"
        )
    return data


def _known(folder: Path) -> Card | None:
    """The card of what was fitted there before."""
    with suppress(NasplatError):
        return Pruner.load(folder).card
    return None


def _losses(page: MetanetPage, data: Dataset) -> Losses:
    own, train = page.losses, data.train
    return cross_entropies(train.inputs, train.targets, batch=own.batch, batches=own.batches)


def _task(
    page: MetanetPage, data: Dataset, modules: list[nn.Module], losses: Losses, device: str
) -> MetaTask:
    """What is learned from, and by what it is judged. The first networks are held out."""
    judge, example = page.judge, data.train.inputs[:2]
    held_out = min(len(modules) - 1, max(1, math.ceil(page.models.held_out * len(modules))))
    networks = [(module, example) for module in modules]
    return MetaTask(
        networks=networks[held_out:],
        held_out=networks[:held_out],
        losses=losses,
        judge=PrunedAccuracy(
            data.validation.inputs,
            data.validation.targets,
            data.train.inputs[: judge.calibration],
            judge.speedups,
            before=_finetuning(page, data, judge.before, device),
            after=_finetuning(page, data, judge.after, device),
        ),
        data=f"{data.name} ({data.hash[:12]})",
        judged_by=f"validation accuracy at {', '.join(f'{s:g}x' for s in judge.speedups)} fewer MACs, "
        f"{judge.before} + {judge.after} epochs of finetuning",
    )


def _finetuning(
    page: MetanetPage, data: Dataset, epochs: int, device: str
) -> Callable[[nn.Module], object] | None:
    if not epochs:
        return None
    recipe = Recipe(epochs, min(64, len(data.train)), page.judge.learning_rate)

    def finetune(module: nn.Module) -> None:
        train_network(module, data, recipe, Settings(device, derived_seed(page.settings.seed, 9)))
        module.eval()

    return finetune


def _teller(page: MetanetPage, watcher: Watcher) -> Callable[[Epoch], None]:
    def tell(epoch: Epoch) -> None:
        line = f"loss {epoch.loss:.4g}, held-out networks {epoch.value:.4g} after pruning ({epoch.seconds:.1f} s)"
        watcher.trial(epoch.number, page.settings.epochs, line)

    return tell


def _command(page: MetanetPage, folder: Path, device: str) -> str:
    place = [] if device == "cpu" else ["--device", device]
    return shlex.join(["nasplat", "fit", "metanet", str(page.path), "-o", str(folder), *place])
