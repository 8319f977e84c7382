"""Counts against closed forms."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.measure import count_macs, count_params


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 4)])
def test_a_convolution_costs_kernel_times_outputs(stride: int, groups: int) -> None:
    conv = nn.Conv2d(4, 8, 3, stride=stride, padding=1, groups=groups)
    side = 16 // stride
    assert count_macs(conv, torch.randn(5, 4, 16, 16)) == side * side * 8 * (4 // groups) * 9
    assert count_params(conv) == 8 * (4 // groups) * 9 + 8


def test_a_linear_layer_costs_inputs_times_outputs_per_token() -> None:
    assert count_macs(nn.Linear(6, 5), torch.randn(2, 6)) == 30
    assert count_macs(nn.Linear(6, 5), torch.randn(2, 7, 6)) == 7 * 30


def test_attention_is_counted_whatever_kernel_the_device_would_take() -> None:
    class Attention(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x, x, x)

    assert count_macs(Attention(), torch.randn(1, 2, 7, 4)) == 2 * (7 * 7 * 4) * 2  # 2 heads, q k^T and p v


def test_an_encoder_layer_costs_its_projections_attention_and_mlp() -> None:
    tokens, width, hidden = 7, 8, 16
    layer = nn.TransformerEncoderLayer(width, 2, hidden, batch_first=True)
    expected = tokens * (4 * width * width + 2 * width * hidden) + 2 * tokens * tokens * width
    assert count_macs(layer, torch.randn(3, tokens, width)) == expected


def test_resnet20_has_its_published_size() -> None:
    """0.27 M parameters (He et al. 2015, arXiv:1512.03385, Table 6); multiply-adds by hand."""
    net = resnet20()
    assert round(count_params(net) / 1e6, 2) == 0.27
    macs = 32 * 32 * 9 * (3 * 16 + 6 * 16 * 16)
    macs += 16 * 16 * 9 * (16 * 32 + 5 * 32 * 32) + 8 * 8 * 9 * (32 * 64 + 5 * 64 * 64) + 640
    assert count_macs(net, torch.randn(2, 3, 32, 32)) == macs
    assert round(macs / 1e6, 1) == 40.6


def test_a_shared_and_a_frozen_parameter_count_once_and_never() -> None:
    layer = nn.Linear(3, 3)
    assert count_params(nn.Sequential(layer, layer)) == 12
    assert count_params(layer.requires_grad_(False)) == 0


def test_layers_that_share_a_weight_cost_each_for_itself() -> None:
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    net[1].weight = net[0].weight
    assert count_macs(net, torch.randn(2, 3)) == 2 * 9


def test_counting_leaves_the_module_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3)).train()
    net[1].eval()
    before = copy.deepcopy(net.state_dict())
    count_macs(net, torch.randn(1, 1, 3, 3))  # a batch of one with one pixel: training mode would refuse it
    assert net.training
    assert not net[1].training
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(tensor, before[name])


def test_a_plain_tensor_attribute_does_not_disturb_the_count() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.shift = nn.Linear(4, 4), torch.ones(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x + self.shift)

    assert count_macs(Shifted(), torch.randn(1, 4)) == 16


class Block(nn.Module):
    """Two 3x3 convolutions around an identity or zero-padded shortcut."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.pad = o - i
        self.one = nn.Sequential(nn.Conv2d(i, o, 3, 1 + (i != o), 1, bias=False), nn.BatchNorm2d(o))
        self.two = nn.Sequential(nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o))

    def forward(self, x: Tensor) -> Tensor:
        short = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.pad)) if self.pad else x
        return F.relu(short + self.two(F.relu(self.one(x))))


def resnet20() -> nn.Sequential:
    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [Block(i, o) for i, o in pairwise(widths)]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def test_a_module_is_counted_where_it_is_whatever_the_device_of_the_example() -> None:
    net = nn.Conv2d(3, 4, 3, device="meta")
    assert count_macs(net, torch.randn(2, 3, 5, 5)) == 3 * 3 * 4 * 3 * 9
