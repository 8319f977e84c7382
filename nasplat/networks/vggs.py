"""VGG networks (arXiv:1409.1556) with batch norm and one linear layer, for CIFAR: (n, c, h, w) -> (n, classes).

Max pooling halves the maps between the five stages, and the mean over the last maps goes into the classifier. Images
must have at least 16x16 pixels. `bias`: whether convolutions have one, although the norm behind takes it away again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from torch import nn

from nasplat.networks.initialise import he_initialised

CIFAR_WIDTHS = (64, 128, 256, 512, 512)


def vgg11_bn(
    *, classes: int = 10, widths: Sequence[int] = CIFAR_WIDTHS, channels: int = 3, bias: bool = True
) -> nn.Sequential:
    """8 convolutions (configuration A): 9.2 M parameters."""
    return _network((1, 1, 2, 2, 2), widths, channels, classes, bias)


def vgg13_bn(
    *, classes: int = 10, widths: Sequence[int] = CIFAR_WIDTHS, channels: int = 3, bias: bool = True
) -> nn.Sequential:
    """10 convolutions (configuration B): 9.4 M parameters."""
    return _network((2, 2, 2, 2, 2), widths, channels, classes, bias)


def vgg16_bn(
    *, classes: int = 10, widths: Sequence[int] = CIFAR_WIDTHS, channels: int = 3, bias: bool = True
) -> nn.Sequential:
    """13 convolutions (configuration D): 14.7 M parameters."""
    return _network((2, 2, 3, 3, 3), widths, channels, classes, bias)


def vgg19_bn(
    *, classes: int = 10, widths: Sequence[int] = CIFAR_WIDTHS, channels: int = 3, bias: bool = True
) -> nn.Sequential:
    """16 convolutions (configuration E): 20.04 M parameters, what network slimming (arXiv:1708.06519) prunes."""
    return _network((2, 2, 4, 4, 4), widths, channels, classes, bias)


def _network(
    blocks: Sequence[int], widths: Sequence[int], channels: int, classes: int, bias: bool
) -> nn.Sequential:
    """Stages of convolutions, mean over the maps, linear classifier; each stage has blocks and a width."""
    features = nn.Sequential(*_layers(blocks, widths, channels, bias))
    ends = {
        "pool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "classifier": nn.Linear(widths[-1], classes),
    }
    return he_initialised(nn.Sequential(OrderedDict(features=features, **ends)))


def _layers(blocks: Sequence[int], widths: Sequence[int], channels: int, bias: bool) -> Iterator[nn.Module]:
    for stage, (depth, width) in enumerate(zip(blocks, widths, strict=True)):
        if stage > 0:
            yield nn.MaxPool2d(2)
        for _ in range(depth):
            yield nn.Conv2d(channels, width, 3, padding=1, bias=bias)
            yield nn.BatchNorm2d(width)
            yield nn.ReLU()
            channels = width
