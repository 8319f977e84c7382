"""Meta-training: one AdamW step for each data model, and held-out networks that choose the epoch."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from nasplat.channels import ParameterGraph
from nasplat.data import derived_seed
from nasplat.errors import NasplatError
from nasplat.files import json_hash
from nasplat.measure import pick_device
from nasplat.metanet.groups import fingerprint
from nasplat.prune.meta.card import Card, Epoch
from nasplat.prune.meta.checkpoint import (
    Checkpoint,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from nasplat.prune.meta.data_models import DataModel, Example, data_models, rewritten
from nasplat.prune.meta.family import Family
from nasplat.prune.meta.objective import Losses, meta_gradients
from nasplat.prune.meta.pruner import Pruner
from nasplat.prune.meta.rewriter import Rewriter
from nasplat.prune.meta.settings import MetaSettings

Judge: TypeAlias = Callable[[nn.Module], float]
"""How good a network is as a start for pruning, higher is better: of a rewritten network, or of one as it is. It must
look at validation data only, since it chooses the epoch to keep; it may change the network that it is given."""

INIT, ORDER, BATCHES = range(3)
"""What a seed is for: streams that do not touch each other."""


@dataclass(frozen=True, slots=True, eq=False)
class MetaTask:
    """What a metanetwork learns from: trained networks, each with an example to trace it by.

    networks: data models that steps are taken on. held_out: others of the family, whose rewriting the judge judges.
    losses: on training data. judge: on validation data, see `PrunedAccuracy`. data, judged_by, command: words for
    the card.
    """

    networks: Sequence[tuple[nn.Module, Example]]
    held_out: Sequence[tuple[nn.Module, Example]]
    losses: Losses
    judge: Judge
    data: str = ""
    judged_by: str = ""
    command: str = ""


def train_pruner(
    task: MetaTask,
    folder: Path,
    settings: MetaSettings = MetaSettings(),  # noqa: B008
    on_epoch: Callable[[Epoch], None] | None = None,
    device: str = "cpu",
) -> Pruner:
    """Train a metanetwork that prunes, in the way of arXiv:2506.12041, and save it into a folder.

    Each epoch takes one AdamW step for each data model in random order, then asks the judge about held-out networks,
    and leaves a checkpoint in the folder: the same call goes on where it stopped, and gives what an uninterrupted
    one gives. The epoch with the highest value is kept, with the values of all epochs on its card. on_epoch is told
    each epoch as it ends.

    device: where the metanetwork and the networks compute, and where losses and judge find the networks; what is saved
    and given back is on the CPU. A GPU adds in no fixed order, so that equal bytes are promised on the CPU only.
    NasplatError: too few networks, a device that is not there, or a folder that holds another training. TrainingError:
    a loss that is not finite.
    """
    training = _Training(task, folder, settings, pick_device(device))
    for epoch in range(len(training.epochs), settings.epochs):
        told = training.epoch(epoch)
        training.save()
        if on_epoch is not None:
            on_epoch(told)
    pruner = training.pruner()
    pruner.save(folder)
    return pruner


class _Training:
    """What is carried from epoch to epoch."""

    def __init__(self, task: MetaTask, folder: Path, settings: MetaSettings, device: torch.device) -> None:
        if not task.networks or not task.held_out:
            raise NasplatError(
                f"{len(task.networks)} networks to learn from and {len(task.held_out)} held out: give at least one of "
                "each; held-out networks choose the epoch"
            )
        self.task, self.folder, self.settings = task, folder, settings
        self.models = data_models(task.networks, settings.pruned > 0, device)
        self.others = data_models(task.held_out, device=device)
        self.rewriter = _new_rewriter(settings, self.models, device)
        self.optimizer = torch.optim.AdamW(
            self.rewriter.parameters(), settings.rate, weight_decay=settings.decay
        )
        self.digest = _digest(settings, self.models, self.others)
        self.epochs: tuple[Epoch, ...] = ()
        self.best: dict[str, Tensor] = {}
        point = load_checkpoint(folder, self.digest)
        if point is None:
            self.untouched = self._judged([model.graph for model in self.others])
        else:
            self._restore(point)

    def epoch(self, number: int) -> Epoch:
        """Train and judge one epoch, counted from 0."""
        start = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate_at(number)
        losses = [self._step(model, seed) for model, seed in self._lessons(number)]
        with torch.no_grad():
            graphs = [self.rewriter(model.graph) for model in self.others]
        value = self._judged(graphs)
        told = Epoch(number + 1, statistics.fmean(losses), value, time.perf_counter() - start)
        if all(value > epoch.value for epoch in self.epochs):
            self.best = {name: tensor.clone() for name, tensor in self.rewriter.state_dict().items()}
        self.epochs = (*self.epochs, told)
        return told

    def save(self) -> None:
        """A checkpoint."""
        state = optimizer_tensors(self.optimizer)
        point = Checkpoint(self.rewriter.state_dict(), self.best, state, self.epochs, self.untouched)
        save_checkpoint(self.folder, point, self.digest)

    def pruner(self) -> Pruner:
        """What the best epoch gave, with its card."""
        rewriter = Rewriter(self.settings)
        rewriter.load_state_dict(self.best)
        chosen = max(self.epochs, key=lambda epoch: epoch.value).number
        family = Family.of([model.graph for model in (*self.models, *self.others)], self.settings.reach)
        return Pruner(rewriter.eval(), self._card(family, chosen))

    def _card(self, family: Family, chosen: int) -> Card:
        return Card(
            settings=self.settings,
            family=family,
            data=self.task.data,
            networks=len(self.models),
            held_out=len(self.others),
            judged_by=self.task.judged_by,
            untouched=self.untouched,
            chosen=chosen,
            epochs=self.epochs,
            command=self.task.command,
            versions={"torch": torch.__version__},
        )

    def _lessons(self, epoch: int) -> Iterator[tuple[DataModel, int]]:
        """Data models in random order, each with the seed of its batches."""
        for turn in range(self.settings.rounds):
            place = epoch * self.settings.rounds + turn
            order = torch.Generator().manual_seed(derived_seed(self.settings.seed, ORDER, place))
            for number in torch.randperm(len(self.models), generator=order).tolist():
                yield self.models[number], derived_seed(self.settings.seed, BATCHES, place, number)

    def _step(self, model: DataModel, seed: int) -> float:
        self.optimizer.zero_grad()
        loss = meta_gradients(self.rewriter, model, self.task.losses, seed, self.settings)
        self.optimizer.step()
        return loss

    def _judged(self, graphs: Sequence[ParameterGraph]) -> float:
        """The mean of what the judge says of held-out networks with the numbers of graphs; copies of them."""
        pairs = zip(self.others, graphs, strict=True)
        return statistics.fmean(self.task.judge(rewritten(model, graph)) for model, graph in pairs)

    def _restore(self, point: Checkpoint) -> None:
        self.rewriter.load_state_dict(point.net)
        restore_optimizer(self.optimizer, point.optimizer)
        self.best, self.epochs, self.untouched = dict(point.best), point.epochs, point.untouched


def _new_rewriter(settings: MetaSettings, models: Sequence[DataModel], device: torch.device) -> Rewriter:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(settings.seed, INIT))
        rewriter = Rewriter(settings).to(device)
    rewriter.learn([model.graph for model in models])
    return rewriter


def _digest(settings: MetaSettings, models: Sequence[DataModel], others: Sequence[DataModel]) -> str:
    """Of all that training depends on, but how long it is."""
    rest = {name: value for name, value in settings.as_json().items() if name != "epochs"}
    return json_hash([rest, [_print(model) for model in models], [_print(model) for model in others]])


def _print(model: DataModel) -> str:
    """A hash of form and numbers."""
    content = hashlib.sha256(fingerprint(model.graph.structure).encode())
    for name, tensor in sorted(model.graph.tensors.items()):
        content.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    return content.hexdigest()
