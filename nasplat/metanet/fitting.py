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

BatchLoss: TypeAlias = Callable[[ParameterGraph, Tensor], Tensor]
"""A batch of m networks and their rows (m,) among all -> a scalar, a mean over the m."""

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
    patience: int = 20
    noise: float = 0.0


def fit(
    network: Invariant, groups: Sequence[Group], targets: Tensor, loss: Loss, fitting: Fitting
) -> list[float]:
    """Train a network in place on the networks of some groups, whose rows number the targets (n, ...): see `train`."""
    network.learn_scales([group.graph for group in groups])
    with torch.no_grad():
        ready = [Group(group.rows, network.prepared(group.graph)) for group in groups]

    def loss_of(graph: ParameterGraph, rows: Tensor) -> Tensor:
        heard = noisy(graph, fitting.noise) if network.training else graph
        return loss(network.judged(heard), targets[rows])

    return train(network, ready, loss_of, fitting)


def train(module: nn.Module, groups: Sequence[Group], loss_of: BatchLoss, fitting: Fitting) -> list[float]:
    """Train a module in place on n networks in groups; it ends in evaluation mode, as it was in its best epoch.

    The held-out loss after each epoch is returned. Splits, order and dropout draw from torch's global random state.
    """
    n = sum(map(len, groups))
    kept = _held_out(n, fitting)
    steps = fitting.epochs * sum(-(-int((~kept[group.rows]).sum()) // fitting.batch) for group in groups)
    optimizer = torch.optim.AdamW(module.parameters(), fitting.rate, weight_decay=fitting.decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_share, steps))
    losses: list[float] = []
    best = _copied(module)
    for _ in range(fitting.epochs):
        module.train()
        for graph, rows in _batches(groups, ~kept, fitting.batch):
            optimizer.zero_grad()
            loss_of(graph, rows).backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        module.eval()
        losses.append(_mean_loss(groups, kept, loss_of) if kept.any() else -float(len(losses)))
        if losses[-1] <= min(losses):
            best = _copied(module)
        if len(losses) - losses.index(min(losses)) > fitting.patience:
            break
    module.load_state_dict(best)
    module.eval()
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


def _batches(groups: Sequence[Group], wanted: Tensor, size: int) -> Iterator[tuple[ParameterGraph, Tensor]]:
    """Wanted networks and their rows in random order, batches of different forms mixed."""
    batches = []
    for group in groups:
        own = wanted[group.rows].nonzero().flatten()
        batches += [(group, places) for places in own[torch.randperm(len(own))].split(size) if len(places)]
    for i in torch.randperm(len(batches)).tolist():
        group, places = batches[i]
        yield taken(group.graph, places), torch.from_numpy(group.rows)[places]


@torch.no_grad()
def _mean_loss(groups: Sequence[Group], wanted: Tensor, loss_of: BatchLoss) -> float:
    """Over wanted networks."""
    batches = _batches(groups, wanted, JUDGED_AT_ONCE)
    return sum(len(rows) * float(loss_of(graph, rows)) for graph, rows in batches) / int(wanted.sum())


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


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
