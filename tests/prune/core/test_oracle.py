"""The same channels cut by torch-pruning 1.6.1: the same tensors, outputs and multiply-adds, where it is right.

`tests/channels/test_oracle.py` says where it is not; besides, it cuts too few columns behind flattened 1d maps.
"""

from __future__ import annotations

import copy

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn

from nasplat.measure import count_macs
from nasplat.prune import Prunable
from nasplat.prune.groups import Group
from nasplat.prune.masked import Kept

from .conftest import prepared, random_kept
from .reference import outputs

RIGHT = (
    "resnet8",
    "vgg11",
    "mobilenet_v2",
    "efficientnet",
    "densenet",
    "convnext",
    "unet",
    "lenet",
    "siren",
    "self_concat",
    "layer_scale",
    "called_twice",
)


def root(network: Prunable, group: Group) -> nn.Module:
    """A layer whose outputs are the channels of a group, in their order."""
    for slot in network.spec.slots:
        name, _, kind = slot.parameter.rpartition(".")
        layer = network.module.get_submodule(name)
        axis = int(isinstance(layer, nn.ConvTranspose2d))
        plain = isinstance(layer, nn.Linear) or getattr(layer, "groups", 0) == 1
        if kind == "weight" and plain and slot.axis == axis and slot.channels.tolist() == group.rows.tolist():
            return layer
    raise AssertionError(f"{group.name} is no layer's")


def theirs(network: Prunable, kept: Kept) -> nn.Module:
    """The network that torch-pruning leaves, in single precision."""
    names = {module: name for name, module in network.module.named_modules()}
    module = copy.deepcopy(network.module).float()
    graph = tp.DependencyGraph().build_dependency(module, tuple(x.float() for x in network.examples))
    for group in network.groups:
        gone = (~kept[group.rows[0]]).nonzero()[0].tolist()
        layer = module.get_submodule(names[root(network, group)])
        cut = tp.prune_linear_out_channels if isinstance(layer, nn.Linear) else tp.prune_conv_out_channels
        if gone:
            graph.get_pruning_group(layer, cut, gone).prune()
    return module


def single(network: Prunable) -> tuple[Tensor, ...]:
    return tuple(x.float() for x in network.examples)


@pytest.mark.filterwarnings("ignore:Unwrapped parameters detected")
@pytest.mark.parametrize("name", RIGHT)
def test_the_same_channels_leave_the_network_that_torch_pruning_leaves(name: str) -> None:
    network = prepared(name)
    kept = random_kept(network, seed=3)
    assert not kept.all()
    plan = network.plan(kept)
    ours, other = plan.apply(network.module).float(), theirs(network, kept)
    state = other.state_dict()
    assert ours.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[key]) for key, tensor in ours.state_dict().items())
    assert torch.equal(outputs(ours, single(network)), outputs(other, single(network)))
    (x,) = single(network)
    assert plan.macs is not None
    assert plan.macs[1] == count_macs(other, x)
    assert tp.utils.count_ops_and_params(ours, x) == tp.utils.count_ops_and_params(other, x)
