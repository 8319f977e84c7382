"""One training loop for all that judges networks by their weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn

from nasplat.channels.graph import ParameterGraph
from nasplat.metanet.groups import Group, taken
from nasplat.metanet.invariant import Invariant, in_parts

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""outputs (m, outputs), targets (m, ...) -> a scalar, a mean over the m."""

JUDGED_AT_ONCE = 256
"""Networks in one forward pass that is not trained."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """How a metanetwork is trained: AdamW, its rate rising for a twentieth of the steps and then falling to zero along
    a cosine, gradients clipped to norm 1.

    epochs: rounds over the training networks, in batches of one form. held_out: the share of networks, at least one,
    whose loss chooses the epoch to keep; 0 keeps the last. patience: epochs without a better one that end training.
    noise: deviation of normal noise on the standardised weights of each batch.
    """

    epochs: int = 30
    batch: int = 64
    rate: float = 3e-3
    decay: float = 1e-2
    held_out: float = 0.15
    patience: int = 10
    noise: float = 0.0


def fit(
    network: Invariant, groups: Sequence[Group], targets: Tensor, loss: Loss, fitting: Fitting
) -> list[float]:
    """Train a network in place on the networks of some groups, whose rows number the targets (n, ...).

    It ends in evaluation mode. The held-out loss after each epoch is returned. Splits, order and dropout draw from
    torch's global random state.
    """
    network.learn_scales([group.graph for group in groups])
    with torch.no_grad():
        ready = [Group(group.rows, network.prepared(group.graph)) for group in groups]
    kept = _held_out(len(targets), fitting)
    trainer = _Trainer(network, ready, targets, loss)
    rounds = sum(-(-int((~kept[group.rows]).sum()) // fitting.batch) for group in ready)
    optimizer = torch.optim.AdamW(network.parameters(), fitting.rate, weight_decay=fitting.decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_share, fitting.epochs * rounds))
    losses: list[float] = []
    best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for _ in range(fitting.epochs):
        trainer.round(~kept, optimizer, schedule, fitting)
        losses.append(trainer.loss_of(kept) if kept.any() else -len(losses))
        if losses[-1] <= min(losses):
            best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        if len(losses) - losses.index(min(losses)) > fitting.patience:
            break
    network.load_state_dict(best)
    network.eval()
    return losses


def _share(steps: int, step: int) -> float:
    """Of the full rate, at a step of so many."""
    rising = max(1, steps // 20)
    if step < rising:
        return (step + 1) / rising
    return (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2


def _held_out(n: int, fitting: Fitting) -> Tensor:
    """Which of n networks choose the epoch to keep, (n,)."""
    count = min(max(1, round(fitting.held_out * n)), n - 1) if fitting.held_out else 0
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[torch.randperm(n)[:count]] = True
    return chosen


class _Trainer:
    """A network among prepared groups and their targets."""

    def __init__(self, network: Invariant, groups: Sequence[Group], targets: Tensor, loss: Loss) -> None:
        self.network, self.groups, self.targets, self.loss = network, groups, targets, loss

    def round(
        self,
        wanted: Tensor,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        fitting: Fitting,
    ) -> None:
        """One step for every batch."""
        self.network.train()
        for graph, targets in self._batches(wanted, fitting.batch):
            optimizer.zero_grad()
            outputs = self.network.judged(noisy(graph, fitting.noise))
            self.loss(outputs, targets).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            optimizer.step()
            schedule.step()

    def _batches(self, wanted: Tensor, size: int) -> Iterator[tuple[ParameterGraph, Tensor]]:
        """Wanted networks in random order, batches of different forms mixed."""
        batches = []
        for group in self.groups:
            own = wanted[group.rows].nonzero().flatten()
            own = own[torch.randperm(len(own))]
            batches += (
                [(group, rows) for rows in own.tensor_split(-(-len(own) // size)) if len(rows)]
                if len(own)
                else []
            )
        for i in torch.randperm(len(batches)).tolist():
            group, rows = batches[i]
            yield taken(group.graph, rows), self.targets[group.rows[rows.numpy()]]

    @torch.no_grad()
    def loss_of(self, wanted: Tensor) -> float:
        """Mean loss of wanted networks."""
        self.network.eval()
        total = 0.0
        for graph, targets in self._batches(wanted, JUDGED_AT_ONCE):
            total += len(targets) * float(self.loss(self.network.judged(graph), targets))
        return total / int(wanted.sum())


def noisy(graph: ParameterGraph, deviation: float) -> ParameterGraph:
    """The graph with normal noise on all that is in blocks and vectors; the graph itself for none."""
    if not deviation:
        return graph
    edges = [values + deviation * torch.randn_like(values) for values in graph.edges]
    features = graph.features
    return graph.replace(features + deviation * torch.randn_like(features), edges)


@torch.no_grad()
def judged(network: Callable[[ParameterGraph], Tensor], groups: Sequence[Group]) -> Tensor:
    """What a network says of all networks of some groups, (n, outputs), in the order of their rows."""
    n = sum(map(len, groups))
    parts = [torch.cat([network(part) for part in in_parts(g.graph, JUDGED_AT_ONCE)]) for g in groups]
    found = parts[0].new_zeros(n, *parts[0].shape[1:])
    for group, part in zip(groups, parts, strict=True):
        found[torch.from_numpy(group.rows).to(found.device)] = part
    return found
