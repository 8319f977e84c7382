"""Residual networks (arXiv:1512.03385), those of CIFAR and those of ImageNet: (n, channels, h, w) -> (n, classes).

A shortcut that changes the shape is a 1x1 convolution with a norm (option B), every other one is the identity. Stages
but the first halve the maps, in the first 3x3 convolution of their first block. Tensors are named as those of
torchvision, so that its published weights load.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nasplat.networks.initialise import he_initialised

CIFAR_WIDTHS = (16, 32, 64)
IMAGENET_WIDTHS = (64, 128, 256, 512)


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size of the maps at stride 1."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The identity where the shape stays, else a 1x1 convolution with a norm."""
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: (n, inputs, h, w) -> (n, width, h / stride, w / stride)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)
        self.downsample = shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut: (n, inputs, h, w) -> (n, 4 width, h / stride, w / stride)."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1, self.bn1 = conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, outputs, 1), nn.BatchNorm2d(outputs)
        self.downsample = shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + self.downsample(x))


def resnet(
    depth: int, *, classes: int = 10, widths: Sequence[int] = CIFAR_WIDTHS, channels: int = 3
) -> nn.Sequential:
    """The network of section 4.2 for images of 32x32 (any size will do): a 3x3 stem and n basic blocks in each stage.

    depth: the number of layers, 2 n len(widths) + 2, which is 6n + 2 for three stages. widths: of the stages.
    """
    blocks, rest = divmod(depth - 2, 2 * len(widths))
    if rest or blocks < 1:
        wanted = f"{2 * len(widths)}n + 2 with n at least 1"
        raise ValueError(f"depth {depth} does not fit {len(widths)} stages; choose {wanted}")
    stem = _stem(nn.Conv2d(channels, widths[0], 3, padding=1, bias=False))
    return he_initialised(_network(stem, BasicBlock, [blocks] * len(widths), widths, classes))


def resnet20(*, classes: int = 10, widths: Sequence[int] = CIFAR_WIDTHS, channels: int = 3) -> nn.Sequential:
    """3 blocks in each stage: 0.27 M parameters."""
    return resnet(20, classes=classes, widths=widths, channels=channels)


def resnet32(*, classes: int = 10, widths: Sequence[int] = CIFAR_WIDTHS, channels: int = 3) -> nn.Sequential:
    """5 blocks in each stage: 0.46 M parameters."""
    return resnet(32, classes=classes, widths=widths, channels=channels)


def resnet44(*, classes: int = 10, widths: Sequence[int] = CIFAR_WIDTHS, channels: int = 3) -> nn.Sequential:
    """7 blocks in each stage: 0.66 M parameters."""
    return resnet(44, classes=classes, widths=widths, channels=channels)


def resnet56(*, classes: int = 10, widths: Sequence[int] = CIFAR_WIDTHS, channels: int = 3) -> nn.Sequential:
    """9 blocks in each stage: 0.85 M parameters."""
    return resnet(56, classes=classes, widths=widths, channels=channels)


def resnet110(*, classes: int = 10, widths: Sequence[int] = CIFAR_WIDTHS, channels: int = 3) -> nn.Sequential:
    """18 blocks in each stage: 1.7 M parameters."""
    return resnet(110, classes=classes, widths=widths, channels=channels)


def resnet18(
    *, classes: int = 1000, widths: Sequence[int] = IMAGENET_WIDTHS, channels: int = 3
) -> nn.Sequential:
    """The smallest of table 1, for images of 224x224 (any size from 32 on will do): 11.7 M parameters."""
    stem = _large_stem(channels, widths[0])
    return he_initialised(_network(stem, BasicBlock, (2, 2, 2, 2), widths, classes))


def resnet50(
    *, classes: int = 1000, widths: Sequence[int] = IMAGENET_WIDTHS, channels: int = 3
) -> nn.Sequential:
    """The 50 layers of table 1, for images of 224x224 (any size from 32 on will do): 25.6 M parameters.

    A stage gives four times its width, and its stride lies in the 3x3 convolution, as in the weights of today.
    """
    stem = _large_stem(channels, widths[0])
    return he_initialised(_network(stem, Bottleneck, (3, 4, 6, 3), widths, classes))


def _stem(convolution: nn.Conv2d) -> dict[str, nn.Module]:
    return {"conv1": convolution, "bn1": nn.BatchNorm2d(convolution.out_channels), "relu": nn.ReLU()}


def _large_stem(channels: int, width: int) -> dict[str, nn.Module]:
    convolution = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
    return {**_stem(convolution), "maxpool": nn.MaxPool2d(3, stride=2, padding=1)}


def _network(
    stem: dict[str, nn.Module],
    block: type[BasicBlock] | type[Bottleneck],
    blocks: Sequence[int],
    widths: Sequence[int],
    classes: int,
) -> nn.Sequential:
    """Stem, stages of residual blocks, mean over the maps, linear classifier; each stage has blocks and a width."""
    layers, inputs = dict(stem), widths[0]
    for number, (depth, width) in enumerate(zip(blocks, widths, strict=True), start=1):
        first = block(inputs, width, stride=1 if number == 1 else 2)
        inputs = width * block.expansion
        rest = (block(inputs, width, stride=1) for _ in range(depth - 1))
        layers[f"layer{number}"] = nn.Sequential(first, *rest)
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(inputs, classes)}
    return nn.Sequential(OrderedDict(layers))
