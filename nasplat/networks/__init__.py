"""Well-known networks as their papers define them: what zoos, benchmarks and pruning start from.

model = resnet56(classes=100)
small = resnet(20, widths=(4, 8, 16), channels=1)
"""

from __future__ import annotations

from nasplat.networks.resnets import (
    resnet,
    resnet18,
    resnet20,
    resnet32,
    resnet44,
    resnet50,
    resnet56,
    resnet110,
)
from nasplat.networks.vggs import vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn

__all__ = [
    "resnet",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet110",
    "vgg11_bn",
    "vgg13_bn",
    "vgg16_bn",
    "vgg19_bn",
]
