"""Elastic layers against plain operations on weights indexed by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nasplat.elastic import (
    Bank,
    Constant,
    ElasticBatchNorm2d,
    ElasticConv2d,
    ElasticDepth,
    ElasticLinear,
    ElasticSpace,
    Size,
    Slot,
    WeightSource,
)
from nasplat.errors import NasplatError
from nasplat.space import Arch, ordinal

WIDE, NARROW = Size(8, "wide"), Size(6, "narrow")


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 2), (5, 1)])
def test_a_convolution_equals_the_plain_one_with_the_sliced_weights(kernel: int, stride: int) -> None:
    layer = ElasticConv2d(NARROW, WIDE, Size(5, "k"), stride=stride, bias=True)
    arch, x = Arch({"narrow": 2, "wide": 3, "k": kernel}), torch.randn(2, 2, 7, 7)
    first, last = 2 - kernel // 2, 3 + kernel // 2
    weight = layer.source.bank.weight_0[:3, :2, first:last, first:last]
    expected = F.conv2d(x, weight, layer.source.bank.bias_0[:3], stride, kernel // 2)
    torch.testing.assert_close(layer(x, arch), expected)
    torch.testing.assert_close(layer.plain(arch)(x), expected)


@pytest.mark.parametrize("narrow", [1, 4])
def test_channels_last_images_give_the_same_values_and_stay_channels_last(narrow: int) -> None:
    layer, arch = ElasticConv2d(NARROW, WIDE, Size(5, "k")), Arch({"narrow": narrow, "wide": 5, "k": 3})
    x = torch.randn(2, narrow, 6, 6)
    y = layer(x.to(memory_format=torch.channels_last), arch)
    torch.testing.assert_close(y, layer(x, arch))
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_a_depthwise_convolution_has_one_row_and_one_group_for_each_channel() -> None:
    layer = ElasticConv2d(WIDE, WIDE, 3, groups=WIDE)
    x, bank = torch.randn(1, 4, 5, 5), layer.source.bank
    assert bank.weight_0.shape == (8, 1, 3, 3)
    expected = torch.cat(
        [F.conv2d(x[:, c : c + 1], bank.weight_0[c : c + 1], padding=1) for c in range(4)], 1
    )
    torch.testing.assert_close(layer(x, Arch({"wide": 4})), expected)
    assert layer.plain(Arch({"wide": 4})).groups == 4


def test_a_grouped_convolution_keeps_its_number_of_groups() -> None:
    layer = ElasticConv2d(NARROW, WIDE, 1, groups=2)
    arch, x = Arch({"narrow": 4, "wide": 6}), torch.randn(1, 4, 3, 3)
    weight = layer.source.bank.weight_0[:6, :2]
    halves = [F.conv2d(x[:, :2], weight[:3]), F.conv2d(x[:, 2:], weight[3:])]
    torch.testing.assert_close(layer(x, arch), torch.cat(halves, 1))
    torch.testing.assert_close(layer.plain(arch)(x), torch.cat(halves, 1))


@pytest.mark.parametrize("width", [1, 3, 8])
def test_a_linear_layer_equals_the_plain_one_with_the_sliced_weights(width: int) -> None:
    layer, x = ElasticLinear(NARROW, WIDE), torch.randn(2, 5, 4)
    arch, bank = Arch({"wide": width, "narrow": 4}), layer.source.bank
    expected = x @ bank.weight_0[:width, :4].T + bank.bias_0[:width]
    torch.testing.assert_close(layer(x, arch), expected)
    torch.testing.assert_close(layer.plain(arch)(x), expected)


def test_layers_start_within_the_bounds_of_their_plain_forms() -> None:
    torch.manual_seed(0)
    elastic, plain = ElasticLinear(64, 256), nn.Linear(64, 256)
    for ours, theirs in zip(elastic.plain(Arch({})).parameters(), plain.parameters(), strict=True):
        assert ours.abs().max().item() == pytest.approx(theirs.abs().max().item(), rel=0.05)
        assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.1)


def test_training_moves_the_running_statistics_of_the_channels_in_use_only() -> None:
    layer, plain = ElasticBatchNorm2d(WIDE), nn.BatchNorm2d(3)
    x = torch.randn(4, 3, 5, 5) * 2 + 1
    torch.testing.assert_close(layer(x, Arch({"wide": 3})), plain(x))
    torch.testing.assert_close(layer.running_mean[:3], plain.running_mean)
    torch.testing.assert_close(layer.running_var[:3], plain.running_var)
    assert not layer.running_mean[3:].any()
    assert torch.equal(layer.running_var[3:], torch.ones(5))
    layer.eval()
    torch.testing.assert_close(layer(x, Arch({"wide": 3})), plain.eval()(x))


def test_depth_runs_the_first_blocks() -> None:
    class Times(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: torch.Tensor, arch: Arch) -> torch.Tensor:
            return x * self.factor

    blocks = ElasticDepth([Times(2.0), Times(3.0), Times(5.0)], Size(3, "depth"))
    outputs = [float(blocks(torch.ones(()), Arch({"depth": d}))) for d in range(4)]
    assert outputs == [1.0, 2.0, 6.0, 30.0]


def test_a_plain_layer_shares_no_storage_and_a_full_layer_keeps_its_dtype() -> None:
    layer = ElasticConv2d(NARROW, WIDE, 3).double()
    for arch in (Arch({"narrow": 6, "wide": 8}), Arch({"narrow": 3, "wide": 2})):
        plain = layer.plain(arch)
        assert plain.weight.dtype == torch.float64
        assert plain.weight.is_contiguous()
        plain.weight.data.fill_(7)
    assert layer.source.bank.weight_0.abs().max() < 7


def test_another_source_changes_no_layer() -> None:
    def mixed(slot: Slot) -> WeightSource:
        return WeightSource(Bank(slot, atoms=2), Constant((0.5, 0.5)))

    layer, x = ElasticLinear(NARROW, WIDE, source=mixed), torch.randn(2, 6)
    arch, bank = Arch({"narrow": 6, "wide": 8}), layer.source.bank
    expected = (F.linear(x, bank.weight_0, bank.bias_0) + F.linear(x, bank.weight_1, bank.bias_1)) / 2
    torch.testing.assert_close(layer(x, arch), expected)
    torch.testing.assert_close(layer.plain(arch)(x), expected)


def test_a_width_that_the_groups_do_not_divide_is_refused_when_the_network_is_made() -> None:
    def space(groups: int | Size) -> ElasticSpace:
        choices = [ordinal("wide", (4, 6, 8))]
        return ElasticSpace("net", choices, network=lambda: ElasticConv2d(8, WIDE, 3, groups=groups))

    with pytest.raises(NasplatError, match=r"^a convolution of 4 groups gets 6 channels: choose widths"):
        space(4).supernet()
    assert isinstance(space(2).supernet(), ElasticConv2d)
