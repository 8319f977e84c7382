"""Families of small networks: ordinary modules whose forms differ in kind, width, depth and activation.

Each family is a function (input_shape, classes, width, depth, activation) -> module. The networks have one to three
thousand parameters. The convolutional ones halve the image once, pool it globally and end in a linear layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

from torch import Tensor, nn, zeros

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
HEADS, TOKENS_A_SIDE = 2, 4  # of the attention family


@dataclass(frozen=True, slots=True)
class Form:
    """All that decides the shapes of a network: networks of an equal form can be stacked."""

    family: str
    input_shape: tuple[int, int, int]
    classes: int
    width: int
    depth: int
    activation: str

    def make(self) -> nn.Module:
        """A fresh network of this form, initialised as PyTorch does."""
        arguments = asdict(self)
        return FAMILIES[arguments.pop("family")].make(**arguments)


class Head(nn.Module):
    """Global average pooling and a linear layer: (n, c, h, w) -> (n, classes)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


class Residual(nn.Module):
    """Two convolutions beside a shortcut, which is a 1x1 convolution where the shape changes (arXiv:1512.03385)."""

    def __init__(self, i: int, o: int, stride: int, activation: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(o)
        same = i == o and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(i, o, 1, stride, bias=False)
        self.act = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.conv1(x)))
        joined: Tensor = self.act(self.norm2(self.conv2(y)) + self.shortcut(x))
        return joined


class Attention(nn.Module):
    """Self-attention of HEADS heads over tokens (n, t, d)."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(d, 3 * d)
        self.proj = nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) / math.sqrt(d // HEADS)).softmax(
            -1
        )  # vmap would run the fused call in a loop
        mixed: Tensor = self.proj((weights @ v).transpose(1, 2).reshape(n, t, d))
        return mixed


class Encoder(nn.Module):
    """A pre-norm transformer block with an MLP of twice the width (arXiv:2010.11929)."""

    def __init__(self, d: int, activation: str) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(d), Attention(d)
        self.norm2 = nn.LayerNorm(d)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), ACTIVATIONS[activation](), nn.Linear(2 * d, d))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        added: Tensor = x + self.mlp(self.norm2(x))
        return added


class VisionTransformer(nn.Module):
    """Patches as 4x4 tokens with learned positions, encoders, the mean of the tokens, a linear layer."""

    def __init__(self, form: tuple[int, int, int], classes: int, d: int, depth: int, activation: str) -> None:
        super().__init__()
        patch = (form[1] // TOKENS_A_SIDE, form[2] // TOKENS_A_SIDE)
        self.patches = nn.Conv2d(form[0], d, patch, stride=patch)
        tokens = (form[1] // patch[0]) * (form[2] // patch[1])
        self.positions = nn.Parameter(nn.init.trunc_normal_(zeros(1, tokens, d), std=0.02))
        self.encoders = nn.Sequential(*(Encoder(d, activation) for _ in range(depth)))
        self.norm = nn.LayerNorm(d)
        self.linear = nn.Linear(d, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        logits: Tensor = self.linear(self.norm(self.encoders(tokens)).mean(1))
        return logits


def plain(
    input_shape: tuple[int, int, int], classes: int, width: int, depth: int, activation: str
) -> nn.Module:
    """Convolutions with bias, no norm."""
    layers: list[nn.Module] = []
    for i, o, stride in _layers(input_shape[0], width, depth):
        layers += [nn.Conv2d(i, o, 3, stride, padding=1), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, Head(o, classes))


def norm(
    input_shape: tuple[int, int, int], classes: int, width: int, depth: int, activation: str
) -> nn.Module:
    """Convolutions with batch norm (arXiv:1502.03167)."""
    layers: list[nn.Module] = []
    for i, o, stride in _layers(input_shape[0], width, depth):
        conv = nn.Conv2d(i, o, 3, stride, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(o), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, Head(o, classes))


def residual(
    input_shape: tuple[int, int, int], classes: int, width: int, depth: int, activation: str
) -> nn.Module:
    """A stem, then `depth` residual blocks with batch norm; the first one widens and halves."""
    stem = [nn.Conv2d(input_shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
    wide = width * 3 // 2
    blocks = [Residual(width if k == 0 else wide, wide, 2 if k == 0 else 1, activation) for k in range(depth)]
    return nn.Sequential(*stem, ACTIVATIONS[activation](), *blocks, Head(wide, classes))


def depthwise(
    input_shape: tuple[int, int, int], classes: int, width: int, depth: int, activation: str
) -> nn.Module:
    """A stem, then depthwise-separable convolutions with batch norm (arXiv:1704.04861)."""
    (first, o, _), *others = _layers(input_shape[0], width, depth)
    layers: list[nn.Module] = [nn.Conv2d(first, o, 3, padding=1, bias=False), nn.BatchNorm2d(o)]
    layers += [ACTIVATIONS[activation]()]
    for i, o, stride in others:
        for conv in (
            nn.Conv2d(i, i, 3, stride, padding=1, groups=i, bias=False),
            nn.Conv2d(i, o, 1, bias=False),
        ):
            layers += [conv, nn.BatchNorm2d(conv.out_channels), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, Head(o, classes))


def attention(
    input_shape: tuple[int, int, int], classes: int, width: int, depth: int, activation: str
) -> nn.Module:
    """A small vision transformer (arXiv:2010.11929) of two heads, without a class token."""
    return VisionTransformer(input_shape, classes, width, depth, activation)


def mlp(
    input_shape: tuple[int, int, int], classes: int, width: int, depth: int, activation: str
) -> nn.Module:
    """The pixels in a row, `depth` hidden layers."""
    i = input_shape[0] * input_shape[1] * input_shape[2]
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(depth):
        layers += [nn.Linear(i, width), ACTIVATIONS[activation]()]
        i = width
    return nn.Sequential(*layers, nn.Linear(i, classes))


def _layers(channels: int, width: int, depth: int) -> list[tuple[int, int, int]]:
    """(inputs, outputs, stride) of `depth` convolutions: the second one widens by half and halves the image."""
    wide = width * 3 // 2
    return [(channels, width, 1), (width, wide, 2), *[(wide, wide, 1)] * (depth - 2)]


@dataclass(frozen=True, slots=True)
class Family:
    """A function that makes networks, and the widths and depths that a zoo gives it."""

    make: Callable[..., nn.Module]
    widths: tuple[int, ...]
    depths: tuple[int, ...]


FAMILIES: dict[str, Family] = {
    "plain": Family(plain, (6, 8, 10), (3, 4)),
    "norm": Family(norm, (6, 8, 10), (3, 4)),
    "residual": Family(residual, (6, 8), (1, 2)),
    "depthwise": Family(depthwise, (8, 12, 16), (4, 5)),
    "attention": Family(attention, (12, 16), (1, 2)),
    "mlp": Family(mlp, (16, 24, 32), (1, 2)),
}
"""The families by name."""
