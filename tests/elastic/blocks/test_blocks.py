"""Blocks of convolutional networks against the same computation in plain functions of torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.elastic import ElasticConv2d, Scaled, Size, extract
from nasplat.elastic.blocks.convolutional import (
    BasicBlock,
    Bottleneck,
    ElasticSequential,
    ElasticSqueezeExcite,
    InvertedResidual,
    Shape,
    Style,
    depthwise,
    pointwise,
)
from nasplat.space import Arch

WIDTH, OUT = Size(8, "width"), Size(12, "out")
HIDDEN = Scaled(WIDTH, 2.0, "expand")
ARCH = Arch({"width": 6, "out": 10, "expand": 1.5, "kernel": 3})


def weight(conv: Any, arch: Arch = ARCH) -> Tensor:
    """What the convolution uses in an architecture."""
    value: Tensor = conv.source(arch)[0]
    return value


def normed(y: Tensor) -> Tensor:
    """A fresh batch norm by the statistics of the batch."""
    return F.batch_norm(y, None, None, training=True)


def test_squeeze_and_excitation_weighs_the_channels_of_each_image() -> None:
    layer, x = ElasticSqueezeExcite(WIDTH, Scaled(WIDTH, 0.5)), torch.randn(3, 6, 5, 4)
    down, up = layer.reduce.source(ARCH), layer.expand.source(ARCH)
    assert down[0].shape == (3, 6, 1, 1)
    y = F.relu(x.mean((2, 3)) @ down[0].flatten(1).T + down[1])
    gate = F.relu6(y @ up[0].flatten(1).T + up[1] + 3) / 6  # arXiv:1905.02244, section 5.2
    torch.testing.assert_close(layer(x, ARCH), x * gate[:, :, None, None])


def test_an_inverted_residual_expands_filters_each_channel_projects_and_adds() -> None:
    block = InvertedResidual(Shape(WIDTH, HIDDEN, WIDTH, Size(5, "kernel")), Style(activation=nn.Hardswish))
    x = torch.randn(4, 6, 7, 7)
    y = F.hardswish(normed(F.conv2d(x, weight(block.expand.conv))))
    y = F.hardswish(normed(F.conv2d(y, weight(block.depthwise.conv), padding=1, groups=9)))
    expected = x + normed(F.conv2d(y, weight(block.project.conv)))
    torch.testing.assert_close(block(x, ARCH), expected)


def test_a_bottleneck_of_another_shape_takes_the_shortcut_of_resnet_d() -> None:
    block, x = Bottleneck(Shape(WIDTH, HIDDEN, OUT, stride=2), Style()), torch.randn(4, 6, 7, 5)
    y = F.relu(normed(F.conv2d(x, weight(block.narrow.conv))))
    y = F.relu(normed(F.conv2d(y, weight(block.filter.conv), stride=2, padding=1)))
    y = normed(F.conv2d(y, weight(block.widen.conv)))
    # The last row and column of pixels have no neighbour: their mean is over those that there are.
    counted = F.pad(torch.ones(1, 1, 7, 5), (0, 1, 0, 1))
    mean = F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 2) / F.avg_pool2d(counted, 2)
    shortcut = normed(F.conv2d(mean, weight(block.shortcut.project.conv)))
    torch.testing.assert_close(block(x, ARCH), F.relu(y + shortcut))


def test_a_basic_block_adds_its_input_or_a_projection_of_it() -> None:
    x = torch.randn(4, 6, 7, 7)
    same, other = (BasicBlock(Shape(WIDTH, HIDDEN, o, 5, s), Style()) for o, s in ((WIDTH, 1), (OUT, 2)))
    for block, stride in ((same, 1), (other, 2)):
        y = F.relu(normed(F.conv2d(x, weight(block.filter1.conv), stride=stride, padding=2)))
        y = normed(F.conv2d(y, weight(block.filter2.conv), padding=1))
        shortcut = x if stride == 1 else normed(F.conv2d(x, weight(block.shortcut.conv), stride=2))
        torch.testing.assert_close(block(x, ARCH), F.relu(y + shortcut))


@pytest.mark.parametrize(
    ("shape", "residual", "expands"),
    [
        (Shape(WIDTH, HIDDEN, WIDTH), True, True),
        (Shape(WIDTH, WIDTH, WIDTH), True, False),
        (Shape(WIDTH, HIDDEN, WIDTH, stride=2), False, True),
        (Shape(Size(6), Size(8), Scaled(Size(12), 0.5)), True, True),  # other dimensions, but one number
        (Shape(WIDTH, HIDDEN, Size(8, "other")), False, True),
    ],
)
def test_a_block_adds_its_input_where_width_and_side_stay(
    shape: Shape, residual: bool, expands: bool
) -> None:
    block = InvertedResidual(shape, Style())
    assert shape.residual is block.residual is residual
    assert (block.expand is not None) is expands
    with torch.no_grad():
        block.project.norm.source.bank.atoms("weight")[0].zero_()
    x = torch.randn(2, 6, 4, 4)
    y = block(x, Arch({**ARCH, "other": 6}))
    torch.testing.assert_close(y, x if residual else torch.zeros_like(y))


class Net(nn.Module):
    """Blocks of every kind, one after the other, as in a network of one's own."""

    def __init__(self) -> None:
        super().__init__()
        style = Style()
        self.body = ElasticSequential(
            [
                pointwise(Size(3), WIDTH, style),
                depthwise(WIDTH, Size(5, "kernel"), style, stride=2),
                BasicBlock(Shape(WIDTH, HIDDEN, OUT), style),
                Bottleneck(Shape(OUT, HIDDEN, WIDTH, stride=2), style),
                InvertedResidual(Shape(WIDTH, HIDDEN, OUT, Size(5, "kernel"), 1, Size(4)), style),
            ]
        )

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y: Tensor = self.body(x, arch)
        return y


def test_blocks_in_a_network_of_ones_own_extract_as_plain_layers() -> None:
    net, x = Net(), torch.randn(8, 3, 9, 9)
    module = extract(net, ARCH)
    expected = net(x, ARCH)  # training mode: norms by batch statistics
    torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-5)
    assert not any(isinstance(layer, ElasticConv2d) for layer in module.modules())
