"""What is cut together with a channel: what slots say against the groups of torch-pruning 1.6.1.

Only on networks where it is right. Elsewhere it says something else, and the permutations in `test_architectures`
say who is right: it ties all channels of a branch that is shuffled into one; lines up a padded shortcut with the first
channels instead of the middle ones; ties values to queries; takes the inner channels of torch's attention for those of
the stream; ties an input of a grouped convolution to the output of the same number; overlooks a head that shares the
weight of an embedding, and the scale of an RMS norm.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch_pruning as tp
from torch import nn

from nasplat.channels.spec import ChannelSpec

from .architectures import ALL
from .conftest import Traced

Trace = Callable[[str], Traced]
Place = tuple[str, int, int]
"""A parameter, an axis, a position on it."""

RIGHT = (
    "resnet8",
    "resnet18",
    "resnet50",
    "vgg11",
    "mobilenet_v2",
    "mobilenet_v3",
    "efficientnet",
    "densenet",
    "convnext",
    "unet",
    "lenet",
    "group_norms",
    "temporal",
    "siren",
    "autoencoder",
    "hand_written_cell",
    "hard_reshape",
    "self_concat",
    "layer_scale",
    "called_twice",
)


def ours(spec: ChannelSpec, root: str, position: int) -> set[Place]:
    """All places of the weights' channel that is an output of `root`."""
    (own,) = (s for s in spec.slots if s.parameter == f"{root}.weight" and s.axis == 0)
    channel = own.channels[0, position]
    return {
        (slot.parameter, slot.axis, int(place))
        for slot in spec.slots
        if slot.parameter.endswith("weight") and len(slot.channels) == 1
        for place in (slot.channels[0] == channel).nonzero()[0]
    }


def theirs(graph: tp.DependencyGraph, network: nn.Module, root: str, position: int) -> set[Place]:
    """The same of torch-pruning's group, as far as it consists of layers; norms and depthwise weights have one axis."""
    names = {module: name for name, module in network.named_modules()}
    layer = network.get_submodule(root)
    cut = tp.prune_linear_out_channels if isinstance(layer, nn.Linear) else tp.prune_conv_out_channels
    found = set()
    for dependency, places in graph.get_pruning_group(layer, cut, [position]):
        module = dependency.target.module
        if module in names:
            found |= {(f"{names[module]}.weight", _axis(dependency, module), int(place)) for place in places}
    return found


def _axis(dependency: tp.dependency.Dependency, module: nn.Module) -> int:
    reads = dependency.handler.__name__.endswith("in_channels")
    turned = isinstance(module, nn.ConvTranspose2d)
    depthwise = isinstance(module, nn.Conv2d) and module.groups > 1
    matrix = isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d) and not depthwise
    return int(reads != turned) if matrix else 0


def roots(network: nn.Module) -> list[str]:
    """About ten layers without groups, spread over the network."""
    plain = [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and getattr(layer, "groups", 1) == 1
    ]
    return plain[:: len(plain) // 10 + 1]


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
@pytest.mark.parametrize("name", RIGHT)
def test_a_channel_lies_where_torch_pruning_cuts_it(name: str, traced: Trace) -> None:
    one = traced(name)
    network = ALL[name].network().float()
    example = tuple(x.float() for x in ALL[name].example())
    graph = tp.DependencyGraph().build_dependency(network, example)
    generator = torch.Generator().manual_seed(0)
    for root in roots(network):
        width = network.get_submodule(root).weight.shape[0]
        position = int(torch.randint(width, (), generator=generator))
        assert ours(one.spec, root, position) == theirs(graph, network, root, position), root
