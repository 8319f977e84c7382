"""Blocks of convolutional networks, for the families in `spaces/` and for networks of your own.

Each is called as block(x, arch) and owns no size: widths, kernels and the width inside a block are dimensions that the
network gives it. Equal dimensions are the same width; where input and output are equal and the stride is 1, a block
adds its input, and only then may a stage of elastic depth leave it out.

    width, kernel = Size(16, "width"), Size(7, "kernel")
    shape = Shape(inputs=width, hidden=Scaled(width, 6.0, "expand"), outputs=width, kernel=kernel)
    block = InvertedResidual(shape, Style(activation=nn.Hardswish))
    y = block(x, arch)     # arch: width, kernel and expand
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch import Tensor, nn

from nasplat.elastic.layers.base import activate
from nasplat.elastic.layers.linear import ElasticConv2d
from nasplat.elastic.layers.norms import Activated, Norms
from nasplat.elastic.sizes import Dimension
from nasplat.elastic.weights.sources import SourceFactory, sliced
from nasplat.space import Arch


class ConvNorm(nn.Module):
    """norm(conv(x)), and the activation where the norm brings one (`Norms.activated`)."""

    def __init__(self, conv: ElasticConv2d, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm
        self.activation: nn.Module | None = None
        if isinstance(norm, Activated):  # side by side, so that an exported network reads well
            self.norm, self.activation = norm.norm, norm.activation

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y: Tensor = self.norm(self.conv(x, arch), arch)
        return y if self.activation is None else activate(self.activation, y, self.conv.outputs, arch)


class ElasticSequential(nn.ModuleList):
    """Modules called one after the other as module(x, arch)."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        super().__init__(modules)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        for module in self:
            x = module(x, arch)
        return x


class ElasticSqueezeExcite(nn.Module):
    """x * gate(conv(relu(conv(mean of x over the image)))): a weight for each channel of each image.

    Squeeze-and-excitation (arXiv:1709.01507) with the gate of MobileNetV3 (arXiv:1905.02244), a piecewise linear
    sigmoid. squeeze: the width between the two 1x1 convolutions. Shapes: x (n, c, h, w) -> (n, c, h, w).
    """

    def __init__(self, channels: int | Dimension, squeeze: int | Dimension) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = ElasticConv2d(channels, squeeze, 1, bias=True)
        self.relu = nn.ReLU()
        self.expand = ElasticConv2d(squeeze, channels, 1, bias=True)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y = self.relu(self.reduce(self.pool(x), arch))
        out: Tensor = x * self.gate(self.expand(y, arch))
        return out


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a block: input, inner and output width, the kernel between them, and the stride.

    squeeze: the width inside squeeze-and-excitation; None for a block without.
    """

    inputs: Dimension
    hidden: Dimension
    outputs: Dimension
    kernel: int | Dimension = 3
    stride: int = 1
    squeeze: Dimension | None = None

    @property
    def residual(self) -> bool:
        """Whether the block keeps the shape of its input, so that both can be added."""
        fixed = not self.inputs.choices and not self.outputs.choices
        same = self.inputs.maximum == self.outputs.maximum if fixed else self.inputs == self.outputs
        return self.stride == 1 and same


@dataclass(frozen=True, slots=True)
class Style:
    """What the blocks of a network have in common: its norms, its activation, the weights of elastic kernels."""

    norms: Norms = field(default_factory=Norms)
    activation: Callable[[], nn.Module] = nn.ReLU
    kernels: SourceFactory = sliced


class InvertedResidual(nn.Module):
    """Expand by a 1x1 convolution, filter each channel, project by another one; norms and activations between.

    The block of MobileNetV2 (arXiv:1801.04381): no activation follows the projection. Where the inner width is the
    input width, there is no expansion. Squeeze-and-excitation acts before the projection, as in MobileNetV3
    (arXiv:1905.02244). Shapes: x (n, i, h, w) -> (n, o, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(self, shape: Shape, style: Style) -> None:
        super().__init__()
        self.residual = shape.residual
        widened = shape.hidden != shape.inputs
        self.expand = pointwise(shape.inputs, shape.hidden, style) if widened else None
        self.depthwise = depthwise(shape.hidden, shape.kernel, style, shape.stride)
        self.squeeze = None if shape.squeeze is None else ElasticSqueezeExcite(shape.hidden, shape.squeeze)
        self.project = pointwise(shape.hidden, shape.outputs, style, activated=False)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y = x if self.expand is None else self.expand(x, arch)
        y = self.depthwise(y, arch)
        y = y if self.squeeze is None else self.squeeze(y, arch)
        out: Tensor = self.project(y, arch)
        return out + x if self.residual else out


class BasicBlock(nn.Module):
    """Filter by k x k, then by 3 x 3, add the shortcut, activate; the inner width may be any.

    The block of small ResNets (arXiv:1512.03385), its shortcut a 1x1 convolution where the shape changes.
    Shapes: x (n, i, h, w) -> (n, o, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(self, shape: Shape, style: Style) -> None:
        super().__init__()
        inputs, hidden, outputs = shape.inputs, shape.hidden, shape.outputs
        conv = ElasticConv2d(inputs, hidden, shape.kernel, stride=shape.stride, source=style.kernels)
        self.filter1 = ConvNorm(conv, style.norms.activated(hidden, style.activation()))
        self.filter2 = ConvNorm(ElasticConv2d(hidden, outputs, 3), style.norms.norm(outputs))
        changed = not shape.residual
        self.shortcut = pointwise(inputs, outputs, style, shape.stride, activated=False) if changed else None
        self.activation, self.outputs = style.activation(), outputs

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y = self.filter2(self.filter1(x, arch), arch)
        y = y + (x if self.shortcut is None else self.shortcut(x, arch))
        return activate(self.activation, y, self.outputs, arch)


class Bottleneck(nn.Module):
    """Narrow by a 1x1 convolution, filter by k x k, widen by 1x1, add the shortcut, activate.

    The block of ResNet-50 (arXiv:1512.03385) with the stride on the k x k convolution, and where the shape changes
    the shortcut of ResNet-D (arXiv:1812.01187, figure 2c): mean over stride x stride pixels, then a 1x1 convolution.
    Shapes: x (n, i, h, w) -> (n, o, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(self, shape: Shape, style: Style) -> None:
        super().__init__()
        hidden = shape.hidden
        conv = ElasticConv2d(hidden, hidden, shape.kernel, stride=shape.stride, source=style.kernels)
        self.narrow = pointwise(shape.inputs, hidden, style)
        self.filter = ConvNorm(conv, style.norms.activated(hidden, style.activation()))
        self.widen = pointwise(hidden, shape.outputs, style, activated=False)
        self.shortcut = None if shape.residual else AveragedShortcut(shape, style)
        self.activation, self.outputs = style.activation(), shape.outputs

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y = self.widen(self.filter(self.narrow(x, arch), arch), arch)
        y = y + (x if self.shortcut is None else self.shortcut(x, arch))
        return activate(self.activation, y, self.outputs, arch)


class AveragedShortcut(nn.Module):
    """The shortcut of ResNet-D (arXiv:1812.01187): mean over stride x stride pixels, 1x1 convolution, norm.

    At the border of an image that the stride does not divide, the mean is over the pixels that are there.
    """

    def __init__(self, shape: Shape, style: Style) -> None:
        super().__init__()
        stride = shape.stride
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.project = pointwise(shape.inputs, shape.outputs, style, activated=False)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y: Tensor = self.project(self.pool(x), arch)
        return y


def pointwise(
    inputs: Dimension, outputs: Dimension, style: Style, stride: int = 1, *, activated: bool = True
) -> ConvNorm:
    """A 1x1 convolution and its norm, with or without the activation."""
    norms = style.norms
    norm = norms.activated(outputs, style.activation()) if activated else norms.norm(outputs)
    return ConvNorm(ElasticConv2d(inputs, outputs, 1, stride=stride), norm)


def depthwise(channels: Dimension, kernel: int | Dimension, style: Style, stride: int = 1) -> ConvNorm:
    """A convolution of each channel by itself, its norm and activation."""
    conv = ElasticConv2d(channels, channels, kernel, stride=stride, groups=channels, source=style.kernels)
    return ConvNorm(conv, style.norms.activated(channels, style.activation()))
