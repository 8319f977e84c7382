"""What a metanetwork is trained for: networks that stay right, and whose channels differ in size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.channels import ParameterGraph
from nasplat.data import generator
from nasplat.errors import NasplatError, TrainingError
from nasplat.prune.meta.cutter import Cutter, drawn_speedup
from nasplat.prune.meta.data_models import DataModel, StandIn, device_of
from nasplat.prune.meta.settings import MetaSettings
from nasplat.prune.regularisers import gradients

Losses: TypeAlias = Callable[[nn.Module, int], Iterable[Tensor]]
"""(module, seed) -> mean losses of some batches of training data, scalars that are differentiable in what the module
computes with. The seed says which batches, so that a resumed training sees what an uninterrupted one sees."""


def cross_entropies(inputs: Tensor, targets: Tensor, *, batch: int = 500, batches: int = 1) -> Losses:
    """Cross entropies over random batches of a data set inputs (n, ...), targets (n,), drawn without replacement; each
    batch goes to where the network is."""
    if not 0 < batch * batches <= len(inputs) or len(inputs) != len(targets):
        raise NasplatError(
            f"{batches} batches of {batch} of {len(inputs)} inputs and {len(targets)} targets; "
            "give equally many of both, and no more batches than they fill"
        )

    def losses(module: nn.Module, seed: int) -> Iterator[Tensor]:
        order = torch.randperm(len(inputs), generator=generator(seed))[: batch * batches]
        device = device_of(module)
        for rows in torch.split(order.to(inputs.device), batch):
            yield F.cross_entropy(module(inputs[rows].to(device)), targets[rows].to(device))

    return losses


def meta_gradients(
    rewriter: nn.Module, model: DataModel, losses: Losses, seed: int, settings: MetaSettings
) -> float:
    """Add to the gradients of a metanetwork those of one data model; the mean loss of the rewritten network.

    Gradients gather on the new numbers, batch by batch, and then go through the metanetwork once. TrainingError: the
    loss is not finite.
    """
    new = rewriter(model.graph)
    names = [name for name, tensor in new.tensors.items() if tensor.requires_grad]
    leaves = {name: new.tensors[name].detach().requires_grad_() for name in names}
    everything = {**new.tensors, **leaves}
    stand_in = StandIn(model.module, ParameterGraph(new.structure, everything))
    loss, accurate = _mean_gradients(losses(stand_in, seed), list(leaves.values()))
    total = [settings.accuracy * gradient for gradient in accurate]
    if settings.pruned and model.cutter is not None:
        small = model.cutter.cut(everything, drawn_speedup(settings.speedups, seed))
        cut = _cut_gradients(model.cutter, ParameterGraph(new.structure, small), leaves, losses, seed)
        total = [one + settings.pruned * other for one, other in zip(total, cut, strict=True)]
    sparse = gradients(
        {name: tensor.detach() for name, tensor in new.tensors.items()}, model.spec, settings.alpha
    )
    for gradient, name in zip(total, names, strict=True):
        if name in sparse:
            gradient.add_(sparse[name], alpha=settings.reg)
    torch.autograd.backward([new.tensors[name] for name in names], total)
    return loss


def _cut_gradients(
    cutter: Cutter, small: ParameterGraph, leaves: Mapping[str, Tensor], losses: Losses, seed: int
) -> Sequence[Tensor]:
    """Of the mean loss of the cut network, by the numbers before the cut, which all batches go through together."""
    after = {name: small.tensors[name].detach().requires_grad_() for name in leaves}
    stand_in = StandIn(cutter.module, ParameterGraph(small.structure, {**small.tensors, **after}))
    _, found = _mean_gradients(losses(stand_in, seed), list(after.values()))
    return torch.autograd.grad([small.tensors[name] for name in leaves], list(leaves.values()), found)


def _mean_gradients(losses: Iterable[Tensor], leaves: Sequence[Tensor]) -> tuple[float, list[Tensor]]:
    """The mean of some losses, and its gradients; one batch is in memory at a time."""
    sums = [torch.zeros_like(leaf) for leaf in leaves]
    values: list[float] = []
    for loss in losses:
        for total, found in zip(sums, torch.autograd.grad(loss, leaves, allow_unused=True), strict=True):
            if found is not None:
                total.add_(found)
        values.append(float(loss.detach()))
    mean = sum(values) / max(1, len(values))
    if not values or not math.isfinite(mean):
        told = f"a loss of {mean}" if values else "no batch of training data"
        raise TrainingError(f"meta-training got {told}; lower the rate or the steps, and check the data")
    return mean, [total / len(values) for total in sums]
