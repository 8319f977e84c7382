"""What one backward pass says of every neuron: how the loss of every example changes, to first order, without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nasplat.channels.structure import GraphStructure, Numbers
from nasplat.errors import TrainingError
from nasplat.prune.masked import Kept, masked
from nasplat.prune.meta.data_models import DataModel
from nasplat.prune.scores import Loss
from nasplat.prune.setaware.units import Units
from nasplat.prune.trials import Norms, with_norms

FEATURES = 4
"""Numbers of a neuron: the mean over examples and the root of the mean square, of it alone and of all neurons that its
unit takes along."""

LAST = (nn.Linear, nn.LayerNorm, nn.Embedding)
"""Modules that give channels on the last axis; all others do on the second."""


def taylor_features(model: DataModel, units: Units, kept: Kept, loss: Loss, norms: Norms = "batch") -> Tensor:
    """(nodes, FEATURES) of the masked network, in the unit of the loss; one forward and backward pass of each batch.

    What a norm, or a layer without one, gives is a; without a channel the loss of an example changes by about -a da,
    summed over places, with da the gradient of the loss (arXiv:1611.06440). Means of this over examples cancel in a
    trained network, their mean square does not: as the Fisher information it stands for the second order
    (arXiv:1801.05787). Losses must be means over the first axis of what modules give. 0 for neurons that no module
    gives, and for those that are not in `kept`. On the CPU, wherever the network is. TrainingError: there is no batch,
    or no gradient.
    """
    network = with_norms(masked(model.module, model.spec, kept), norms).requires_grad_()
    with torch.enable_grad():
        found = list(_passes(network, model.spec.structure, loss))
    if not found:
        raise TrainingError("no batch of training data for a backward pass; give losses of at least one")
    changes = torch.cat(found)  # (examples, nodes)
    changes = torch.stack([changes, _of_units(changes, units)])
    return torch.cat([changes.mean(1), changes.square().mean(1).sqrt()]).T.contiguous()


def _passes(network: nn.Module, form: GraphStructure, loss: Loss) -> Iterator[Tensor]:
    """Of every batch the change of the loss of its examples without each neuron, (n, nodes)."""
    givers = giving(form, network)
    with _heard(network, givers) as outputs:
        for value in loss(network):
            names = list(outputs)
            grads = torch.autograd.grad(value, [outputs[name] for name in names], allow_unused=True)
            parts = {
                name: -len(grad)
                * _by_example(outputs[name].detach() * grad, network.get_submodule(name)).cpu()
                for name, grad in zip(names, grads, strict=True)
                if grad is not None
            }
            outputs.clear()
            yield _scattered(form, givers, parts)


def giving(form: GraphStructure, module: nn.Module) -> dict[str, Numbers]:
    """Modules by name, and the neurons that each gives: norms where there are some, else the layers themselves."""
    normed = {v.parameter.rpartition(".")[0]: v.nodes for v in form.vectors if v.column == "scale"}
    covered = {node for nodes in normed.values() for node in nodes.tolist()}
    layers = {
        block.parameter.rpartition(".")[0]: block.targets.ravel()
        for block in form.blocks
        if covered.isdisjoint(block.targets.ravel().tolist())
    }
    known = dict(module.named_modules())
    return {name: nodes for name, nodes in {**layers, **normed}.items() if name in known}


@contextmanager
def _heard(module: nn.Module, givers: dict[str, Numbers]) -> Iterator[dict[str, Tensor]]:
    """What modules gave last, by name, while the block lasts."""
    outputs: dict[str, Tensor] = {}

    def listener(name: str, size: int) -> Any:
        def listen(part: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.requires_grad and output.shape[_axis(part)] == size:
                outputs[name] = output

        return listen

    handles = [
        module.get_submodule(name).register_forward_hook(listener(name, len(nodes)))
        for name, nodes in givers.items()
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _axis(part: nn.Module) -> int:
    return -1 if isinstance(part, LAST) else 1


def _by_example(products: Tensor, part: nn.Module) -> Tensor:
    """Sums over places: (n, channels)."""
    return products.movedim(_axis(part), 1).flatten(2).sum(2) if products.ndim > 2 else products


def _scattered(form: GraphStructure, givers: dict[str, Numbers], parts: dict[str, Tensor]) -> Tensor:
    if not parts:
        raise TrainingError("no gradient reaches the layers of the network; give losses of what it computes")
    first = next(iter(parts.values()))
    empty = first.new_zeros(len(first), form.nodes)
    for name, values in parts.items():
        empty.index_add_(1, torch.from_numpy(givers[name]), values)
    return empty


def _of_units(changes: Tensor, units: Units) -> Tensor:
    """Sums over the neurons that a unit takes along, at each of them: (examples, nodes)."""
    total = changes.new_zeros(len(changes), len(units)).index_add_(1, units.unit_of, changes[:, units.nodes])
    return torch.zeros_like(changes).index_copy_(1, units.nodes, total[:, units.unit_of])
