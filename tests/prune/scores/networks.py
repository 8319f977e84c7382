"""Networks with their evidence, and torch-pruning's groups of the same channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
import torch_pruning as tp
from torch import Tensor, nn

from nasplat.channels import channel_spec
from nasplat.prune.scores import Evidence

from ...channels.architectures import ALL
from ...channels.conftest import trace

PLAIN = ("resnet8", "vgg11", "lenet")
"""Networks on which torch-pruning's groups are right and whose members are counted once each."""


def evidence(name: str, seed: int = 0, *, single: bool = False) -> Evidence:
    """A network of ALL with random weights, and two batches of random labels; single precision if asked."""
    network, example, spec = ALL[name].network(seed), ALL[name].example(), trace(name).spec
    if single:
        network, example = network.float(), tuple(x.float() for x in example)
    return Evidence(network, example, spec, classified(example, 2))


def classified(example: tuple[Tensor, ...], batches: int) -> Callable[[nn.Module], Iterable[Tensor]]:
    """The cross entropy of the outputs, whatever their shape, with labels 0 and 1 in turn."""

    def loss(module: nn.Module) -> Iterator[Tensor]:
        for batch in range(batches):
            out = module(*(x * (1 + batch) if x.is_floating_point() else x for x in example))
            out = out.reshape(-1, out.shape[-1])
            yield F.cross_entropy(out, torch.arange(len(out)) % 2)

    return loss


def traced(network: nn.Module, *example: Tensor, **more: object) -> Evidence:
    return Evidence(network.eval(), example, channel_spec(network, example), **more)


def theirs(
    one: Evidence, importance: Callable[[tp.dependency.Group], Tensor]
) -> Iterator[tuple[list[int], Tensor]]:
    """For every group of torch-pruning that may go: the numbers of its channels, and their importance."""
    names = {module: name for name, module in one.module.named_modules()}
    graph = tp.DependencyGraph().build_dependency(one.module, one.example)
    for group in graph.get_all_groups():
        root = names[group[0].dep.target.module]
        (slot,) = (s for s in one.spec.slots if s.parameter == f"{root}.weight" and s.axis == 0)
        channels = slot.channels[0].tolist()
        if any(
            space.kind == "hidden" and space.start <= channels[0] < space.stop for space in one.spec.spaces
        ):
            yield channels, importance(group).double()
