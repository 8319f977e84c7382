"""The networks of NAS-Bench-201 (arXiv:2001.00326, figure 1) as plain torch.nn modules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from nasplat.space import Value

from ._nasbench201_cell import CONV1, CONV3, NONE, OUTPUT, POOL, SKIP, edge_name, operations
from ._nasbench201_plan import Plan


def network(plan: Plan, arch: Mapping[str, Value]) -> nn.Sequential:
    """Images (n, *plan.input_shape) -> logits (n, plan.classes), with fresh weights by torch's own rules.

    Its parts are stem, stage1, reduction1, stage2, reduction2, stage3, norm, relu, pool, flatten and head; the
    convolution on the edge from node 1 to node 3 in the first cell is stage1.0.edge13.conv.
    """
    widths = [width for width, _ in plan.stages]
    first, last = widths[0], widths[-1]
    stem = OrderedDict[str, nn.Module](
        conv=nn.Conv2d(plan.input_shape[0], first, 3, padding=1, bias=False), norm=nn.BatchNorm2d(first)
    )
    parts = OrderedDict[str, nn.Module](stem=nn.Sequential(stem))
    for stage, width in enumerate(widths, start=1):
        if stage > 1:
            parts[f"reduction{stage - 1}"] = Reduction(width // 2, width)
        parts[f"stage{stage}"] = nn.Sequential(*(Cell(arch, width) for _ in range(plan.cells)))
    parts |= {"norm": nn.BatchNorm2d(last), "relu": nn.ReLU(), "pool": nn.AdaptiveAvgPool2d(1)}
    parts |= {"flatten": nn.Flatten(), "head": nn.Linear(last, plan.classes)}
    return nn.Sequential(parts)


class Cell(nn.Module):
    """Six operations between four nodes, (n, channels, h, w) -> (n, channels, h, w).

    An edge with "none" has no module, a node without edges is zero. Convolutions on other dead edges are there
    and run, as published: they count, and learn nothing.
    """

    def __init__(self, arch: Mapping[str, Value], channels: int) -> None:
        super().__init__()
        self.sources: list[list[tuple[int, str]]] = [[] for _ in range(OUTPUT + 1)]
        for (source, target), operation in operations(arch).items():
            if operation != NONE:
                name = edge_name((source, target))
                self.add_module(name, MODULES[operation](channels))
                self.sources[target].append((source, name))

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        for incoming in self.sources[1:]:
            brought = [getattr(self, name)(nodes[source]) for source, name in incoming]
            nodes.append(reduce(add, brought) if brought else torch.zeros_like(x))
        return nodes[OUTPUT]


class Reduction(nn.Module):
    """A residual block that halves sides and doubles channels: (n, narrow, h, w) -> (n, wide, h / 2, w / 2)."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.first = relu_conv_norm(narrow, wide, 3, stride=2)
        self.second = relu_conv_norm(wide, wide, 3)
        self.shortcut = nn.Sequential(
            OrderedDict[str, nn.Module](pool=nn.AvgPool2d(2), conv=nn.Conv2d(narrow, wide, 1, bias=False))
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shortcut(x) + self.second(self.first(x))
        return out


def relu_conv_norm(narrow: int, wide: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """The benchmark's convolution: ReLU first, and a norm with scale and bias last."""
    conv = nn.Conv2d(narrow, wide, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(OrderedDict[str, nn.Module](relu=nn.ReLU(), conv=conv, norm=nn.BatchNorm2d(wide)))


MODULES: dict[str, Callable[[int], nn.Module]] = {
    SKIP: lambda channels: nn.Identity(),
    CONV1: lambda channels: relu_conv_norm(channels, channels, 1),
    CONV3: lambda channels: relu_conv_norm(channels, channels, 3),
    POOL: lambda channels: nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
}
"""What an operation other than "none" is, for so many channels."""
