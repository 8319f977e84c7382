"""Which axes are the same channels: against what layers say by their shapes, and against the function itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nasplat.elastic import (
    ElasticBatchNorm2d,
    ElasticConv2d,
    ElasticGroupNorm,
    ElasticLinear,
    ElasticSpace,
    Key,
    Scaled,
    Size,
)
from nasplat.elastic.groups import ChannelGroup, channel_groups
from nasplat.space import Arch

WIDTH, INNER = Size(12, "width"), Scaled(Size(12, "width"), 2.0, "expand")


def names(net: nn.Module, group: ChannelGroup) -> set[tuple[str, int]]:
    tensors = {id(t): name for name, t in net.state_dict(keep_vars=True).items()}
    return {(tensors[id(place.tensor)], place.axis) for place in group.axes}


def reorder(group: ChannelGroup, order: Tensor) -> None:
    with torch.no_grad():
        for place in group.axes:
            place.tensor.copy_(place.tensor.index_select(place.axis, order))


def test_a_group_has_every_axis_that_its_width_sizes(net: nn.Module) -> None:
    groups = {group.dimension: group for group in channel_groups(net)}
    assert groups.keys() == {WIDTH, INNER}
    block = {
        ("depthwise.source.bank.weight_0", 0),
        ("depthwise.source.bank.bias_0", 0),
        ("norm.source.bank.weight_0", 0),
        ("norm.source.bank.bias_0", 0),
        ("norm.running_mean", 0),
        ("norm.running_var", 0),
        ("widen.source.bank.weight_0", 1),
        ("narrow.source.bank.weight_0", 0),
    }
    around = {
        ("stem.source.bank.weight_0", 0),
        ("shared.source.bank.weight_0", 0),
        ("shared.source.bank.bias_0", 0),
        ("shared.running_mean", 0),
        ("shared.running_var", 0),
        ("head.source.bank.weight_0", 1),
    }
    blocks = {(f"blocks.{n}.{name}", axis) for n in range(2) for name, axis in block}
    assert names(net, groups[WIDTH]) == around | blocks
    readers = {"blocks.0.widen", "blocks.1.widen", "head"}
    found = names(net, ChannelGroup(WIDTH, groups[WIDTH].readers, ()))
    assert found == {(f"{name}.source.bank.weight_0", 1) for name in readers}


def test_channels_of_a_group_change_places_without_changing_the_function(space: ElasticSpace) -> None:
    net, x = space.supernet(seed=3).eval(), torch.randn(2, 3, 9, 9)
    before = net(x, space.largest())
    for group in channel_groups(net):
        reorder(group, torch.randperm(group.dimension.maximum))
    torch.testing.assert_close(net(x, space.largest()), before)
    assert not torch.allclose(net(x, space.smallest()), space.supernet(seed=3).eval()(x, space.smallest()))


class Chain(nn.Module):
    """Layers one after the other, called as layer(x, arch)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        for layer in self.layers:
            x = layer(x, arch)
        return x


class Flat(nn.Module):
    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        return x.flatten(1)


STEM, HEAD = (ElasticConv2d(3, WIDTH, 3), ElasticConv2d(WIDTH, 5, 1))


@pytest.mark.parametrize(
    "net",
    [
        Chain(ElasticConv2d(3, Size(12), 3), ElasticConv2d(Size(12), 5, 1)),
        Chain(STEM, ElasticConv2d(WIDTH, WIDTH, 3, groups=4), HEAD),
        Chain(STEM, ElasticConv2d(WIDTH, INNER, 3, groups=WIDTH), ElasticConv2d(INNER, 5, 1), HEAD),
        Chain(STEM, HEAD, ElasticConv2d(5, 5, WIDTH)),
        Chain(STEM, Flat(), ElasticLinear(Scaled(WIDTH, 9.0), 5)),
        Chain(STEM, ElasticConv2d(WIDTH, 7, 1), ElasticConv2d(7, Scaled(WIDTH, 2.0), 1)),
    ],
    ids=["no choice", "groups", "depthwise with a multiplier", "a kernel too", "flattened", "never read"],
)
def test_channels_that_cannot_be_followed_are_left_alone(net: nn.Module) -> None:
    assert WIDTH not in {group.dimension for group in channel_groups(net)}


def test_norms_in_groups_keep_their_channels_together() -> None:
    net, arch = Chain(STEM, ElasticGroupNorm(WIDTH, 4), HEAD), Arch({"width": 12})
    (group,) = channel_groups(net)
    assert group.unit == 4
    x = torch.randn(2, 3, 9, 9)
    before = net(x, arch)
    reorder(group, torch.tensor([8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7]))
    torch.testing.assert_close(net(x, arch), before)


def test_a_keyed_norm_moves_the_weights_and_statistics_of_every_key() -> None:
    key = Key(("k",), 3, lambda arch: arch["k"])
    net = Chain(STEM, ElasticBatchNorm2d(WIDTH, key=key), HEAD)
    (group,) = channel_groups(net)
    norm = {f"layers.1.source.bank.{name}_{k}" for name in ("weight", "bias") for k in range(3)}
    found = names(net, group)
    assert {(name, 0) for name in norm} < found
    assert {("layers.1.running_mean", 1), ("layers.1.running_var", 1)} < found


def test_a_layer_in_two_places_moves_once() -> None:
    twice = ElasticConv2d(WIDTH, WIDTH, 3)
    other = ElasticConv2d(WIDTH, WIDTH, 3)
    other.source.bank = twice.source.bank
    net, arch = Chain(STEM, twice, other, twice, HEAD), Arch({"width": 12})
    x = torch.randn(2, 3, 9, 9)
    before = net(x, arch)
    (group,) = channel_groups(net)
    reorder(group, torch.randperm(12))
    torch.testing.assert_close(net(x, arch), before, rtol=1e-4, atol=1e-6)
