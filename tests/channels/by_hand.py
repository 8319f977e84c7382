"""Small networks whose channels and edges are written down by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.channels.spec import ChannelSpace, ChannelSpec, Slot
from nasplat.channels.structure import Block, GraphStructure, Join, Neurons, Vector


class Residual(nn.Module):
    """Two normed convolutions with a shortcut, flattened from 2x2 places into a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        return self.fc((self.bn2(self.conv2(x)) + x).relu().flatten(1))


class Grouped(nn.Module):
    """A grouped convolution, a depthwise and a grouped transposed one; places before channels when flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.grouped = nn.Conv2d(2, 6, 1), nn.Conv2d(6, 6, 3, padding=1, groups=3)
        self.depth, self.up = nn.Conv2d(6, 6, (1, 3), groups=6), nn.ConvTranspose2d(6, 9, 2, groups=3)
        self.fc = nn.Linear(4 * 9, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depth(self.grouped(self.first(x).tanh()).tanh()).tanh()
        x = F.adaptive_avg_pool2d(self.up(x).tanh(), 2)
        return self.fc(x.permute(0, 2, 3, 1).flatten(1))


@dataclass
class Sketch:
    """A network written down: rows of neurons over spaces of channels, blocks between rows, vectors on rows."""

    module: nn.Module
    spaces: list[ChannelSpace] = field(default_factory=list)
    rows: list[Neurons] = field(default_factory=list)
    held: list[np.ndarray] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    vectors: list[Vector] = field(default_factory=list)
    joins: list[Join] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)

    def space(self, name: str, size: int, kind: str = "hidden", parent: int | None = None) -> int:
        start = self.spaces[-1].stop if self.spaces else 0
        self.spaces.append(ChannelSpace(name, start, start + size, kind, parent=parent))
        return len(self.spaces) - 1

    def row(self, name: str, kind: str, space: int, activation: str = "") -> np.ndarray:
        start, size = sum(map(len, self.rows)), self.spaces[space].size
        self.rows.append(Neurons(name, kind, start, start + size, len(self.rows), activation))
        self.held.append(self.channels(space))
        return np.arange(start, start + size)

    def channels(self, space: int) -> np.ndarray:
        return np.arange(self.spaces[space].start, self.spaces[space].stop)

    def vector(self, parameter: str, column: str, nodes: np.ndarray, side: int = 0) -> None:
        held = np.concatenate(self.held)
        self.vectors.append(Vector(parameter, column, side, nodes))
        self.slots.append(Slot(parameter, 0, held[nodes].reshape(1, -1)))

    def norm(self, name: str, nodes: np.ndarray, side: int = 0) -> None:
        names = {"weight": "scale", "bias": "shift", "running_mean": "mean", "running_var": "variance"}
        for parameter, column in names.items():
            self.vector(f"{name}.{parameter}", column, nodes, side)

    def spec(self) -> ChannelSpec:
        held = np.concatenate(self.held)
        fixed = np.array([space.kind != "hidden" for space in self.spaces for _ in range(space.size)])
        positions = np.concatenate([np.arange(len(row)) for row in self.rows])
        shapes = {name: tuple(t.shape) for name, t in self.module.state_dict().items()}
        named = {part.parameter for part in (*self.blocks, *self.vectors)}
        structure = GraphStructure(
            tuple(self.rows),
            tuple(self.blocks),
            tuple(self.vectors),
            tuple(self.joins),
            tuple(name for name in shapes if name not in named),
            np.where(fixed[held], positions, -1),
            shapes,
        )
        return ChannelSpec(tuple(self.spaces), tuple(self.slots), (), structure, held)


def residual() -> tuple[Residual, ChannelSpec]:
    s = Sketch(Residual().eval())
    image, hidden, out = s.space("x", 3, "input"), s.space("conv1", 4), s.space("fc", 5, "output")
    x, a = s.row("x", "input", image), s.row("conv1", "conv", hidden, "relu")
    b, y = s.row("conv2", "conv", hidden, "relu"), s.row("fc", "linear", out)
    s.blocks = [
        Block("conv1.weight", "conv", x[None], a[None], (3, 3), 4, (1, 4, 3, 3, 3), (0, 1, 2, 3, 4)),
        Block("conv2.weight", "conv", a[None], b[None], (3, 3), 4, (1, 4, 4, 3, 3), (0, 1, 2, 3, 4)),
        Block("fc.weight", "linear", b[None], y[None], (4,), 2, (1, 5, 4, 4), (0, 1, 2, 3)),
    ]
    s.joins = [Join("sum", a, b)]
    h = s.channels(hidden)[None]
    s.slots += [Slot("conv1.weight", 0, h), Slot("conv1.weight", 1, s.channels(image)[None])]
    s.slots += [Slot("conv2.weight", 0, h), Slot("conv2.weight", 1, h)]
    s.slots += [Slot("fc.weight", 0, s.channels(out)[None]), Slot("fc.weight", 1, h.repeat(4, axis=1))]
    s.vector("conv1.bias", "bias", a)
    s.norm("bn1", a)
    s.norm("bn2", b)
    s.vector("fc.bias", "bias", y)
    return _trained_a_little(s.module), s.spec()


def grouped() -> tuple[Grouped, ChannelSpec]:
    s = Sketch(Grouped().eval())
    image, groups = s.space("x", 2, "input"), s.space("grouped groups", 3)
    one, two = s.space("first", 6, parent=groups), s.space("grouped", 6, parent=groups)
    three, out = s.space("up", 9, parent=groups), s.space("fc", 3, "output")
    x, a, b = s.row("x", "input", image), s.row("first", "conv", one), s.row("grouped", "conv", two, "tanh")
    c, d, y = s.row("depth", "conv", two), s.row("up", "conv", three), s.row("fc", "linear", out)
    plain, turned, last = (0, 1, 2, 3, 4), (0, 2, 1, 3, 4), (0, 1, 3, 2)
    s.blocks = [
        Block("first.weight", "conv", x[None], a[None], (1, 1), 4, (1, 6, 2, 1, 1), plain),
        Block("grouped.weight", "conv", a.reshape(3, 2), b.reshape(3, 2), (3, 3), 4, (3, 2, 2, 3, 3), plain),
        Block("depth.weight", "conv", b[:, None], c[:, None], (1, 3), 4, (6, 1, 1, 1, 3), plain),
        Block("up.weight", "conv", c.reshape(3, 2), d.reshape(3, 3), (2, 2), 4, (3, 2, 3, 2, 2), turned),
        Block("fc.weight", "linear", d[None], y[None], (4,), 2, (1, 3, 4, 9), last),
    ]
    first, second, third = s.channels(one), s.channels(two), s.channels(three)
    axes = {
        "first.weight": (first[None], s.channels(image)[None]),
        "grouped.weight": (second[None], first.reshape(3, 2)),
        "depth.weight": (second[None], second[:, None]),
        "up.weight": (second[None], third.reshape(3, 3)),
        "fc.weight": (s.channels(out)[None], np.tile(third, 4)[None]),
    }
    s.slots += [Slot(name, axis, held) for name, pair in axes.items() for axis, held in enumerate(pair)]
    for name, nodes in zip(["first", "grouped", "depth", "up", "fc"], [a, b, c, d, y], strict=True):
        s.vector(f"{name}.bias", "bias", nodes)
    return _trained_a_little(s.module), s.spec()


def chain(widths: list[int]) -> tuple[nn.Sequential, ChannelSpec]:
    """Linear layers one after another."""
    pairs = list(pairwise(widths))
    s = Sketch(nn.Sequential(*(nn.Linear(*pair) for pair in pairs)))
    for number, size in enumerate(widths):
        kind = "input" if number == 0 else "output" if number == len(pairs) else "hidden"
        s.space(f"space {number}", size, kind)
    nodes = [s.row(str(n - 1) if n else "x", "linear" if n else "input", n) for n in range(len(widths))]
    for n, (i, o) in enumerate(pairs):
        name, ends = f"{n}.weight", (nodes[n][None], nodes[n + 1][None])
        s.blocks.append(Block(name, "linear", *ends, (), 2, (1, o, i), (0, 1, 2)))
        s.slots += [Slot(name, 1, s.channels(n)[None]), Slot(name, 0, s.channels(n + 1)[None])]
        s.vector(f"{n}.bias", "bias", nodes[n + 1])
    return s.module, s.spec()


def _trained_a_little(module: nn.Module) -> nn.Module:
    """Norms with statistics and scales of their own, so that a mistake in their order shows."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
                tensor.copy_(torch.rand_like(tensor) + 0.5)
    return module


MAKERS = {"residual": residual, "grouped": grouped, "chain": lambda: chain([3, 5, 4, 2])}


def made(name: str) -> tuple[nn.Module, ChannelSpec]:
    """One of MAKERS, always with the same weights."""
    torch.manual_seed(0)
    return MAKERS[name]()
