"""Small networks for small machines, as people write them."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class InvertedResidual(nn.Module):
    """arXiv:1801.04381: expand, depthwise, project; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        layers: list[nn.Module] = []
        if expand != 1:
            layers += [conv_norm(inputs, hidden, 1), nn.ReLU6(inplace=True)]
        layers += [conv_norm(hidden, hidden, 3, stride, groups=hidden), nn.ReLU6(inplace=True)]
        self.conv = nn.Sequential(*layers, conv_norm(hidden, outputs, 1))
        self.use_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        if self.use_shortcut:
            return x + self.conv(x)
        return self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        blocks = [InvertedResidual(4, 5, 1, 1), InvertedResidual(5, 6, 2, 2), InvertedResidual(6, 6, 1, 2)]
        stem, last = conv_norm(3, 4, 3, 2), conv_norm(6, 16, 1)
        self.features = nn.Sequential(stem, nn.ReLU6(inplace=True), *blocks, last, nn.ReLU6(inplace=True))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = F.adaptive_avg_pool2d(x, (1, 1))
        x = torch.flatten(x, 1)
        return self.classifier(x)


class SqueezeExcite(nn.Module):
    """arXiv:1709.01507, by 1x1 convolutions over the means of the maps."""

    def __init__(self, channels: int, squeezed: int, act: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.act, self.gate = act, gate

    def forward(self, x: Tensor) -> Tensor:
        scale = F.adaptive_avg_pool2d(x, 1)
        scale = self.gate(self.fc2(self.act(self.fc1(scale))))
        return scale * x


class BlockV3(nn.Module):
    """arXiv:1905.02244: an inverted residual with squeeze-excite and hardswish."""

    def __init__(self, inputs: int, hidden: int, outputs: int, kernel: int, squeezed: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hidden != inputs:
            layers += [conv_norm(inputs, hidden, 1), nn.Hardswish()]
        layers += [conv_norm(hidden, hidden, kernel, groups=hidden), nn.Hardswish()]
        layers += [
            SqueezeExcite(hidden, squeezed, nn.ReLU(), nn.Hardsigmoid()),
            conv_norm(hidden, outputs, 1),
        ]
        self.block = nn.Sequential(*layers)
        self.residual = inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        result = self.block(x)
        if self.residual:
            result += x
        return result


class MobileNetV3(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        blocks = [BlockV3(4, 4, 5, 3, 2), BlockV3(5, 10, 5, 5, 3)]
        self.features = nn.Sequential(
            conv_norm(3, 4, 3, 2), nn.Hardswish(), *blocks, conv_norm(5, 12, 1), nn.Hardswish()
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Linear(12, 14), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(14, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class StochasticDepth(nn.Module):
    """Drops whole examples of a residual branch while training (arXiv:1603.09382)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = torch.empty(x.shape[0], 1, 1, 1).bernoulli_(0.8)
        return x * keep / 0.8


class MBConv(nn.Module):
    """arXiv:1905.11946."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        self.expand = nn.Sequential(conv_norm(inputs, hidden, 1), nn.SiLU()) if expand > 1 else nn.Identity()
        self.depthwise = nn.Sequential(conv_norm(hidden, hidden, kernel, stride, groups=hidden), nn.SiLU())
        self.se = SqueezeExcite(hidden, 2, nn.SiLU(), nn.Sigmoid())
        self.project = conv_norm(hidden, outputs, 1)
        self.drop_path = StochasticDepth()
        self.has_skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.project(self.se(self.depthwise(self.expand(x))))
        if self.has_skip:
            x = self.drop_path(x) + shortcut
        return x


class EfficientNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_norm(3, 6, 3, 2), nn.SiLU())
        self.blocks = nn.Sequential(MBConv(6, 6, 3, 1, 1), MBConv(6, 8, 5, 2, 2), MBConv(8, 8, 3, 1, 2))
        self.head = nn.Sequential(conv_norm(8, 16, 1), nn.SiLU())
        self.classifier = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.blocks(self.stem(x)))
        return self.classifier(x.mean([2, 3]))


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    n, c, h, w = x.size()
    x = x.view(n, groups, c // groups, h, w)
    x = torch.transpose(x, 1, 2).contiguous()
    return x.view(n, -1, h, w)


class ShuffleUnit(nn.Module):
    """arXiv:1807.11164: half of the channels pass by, or both halves are made anew where the maps are halved."""

    def __init__(self, inputs: int, half: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.branch1 = nn.Sequential(
            OrderedDict(
                depthwise=conv_norm(inputs, inputs, 3, 2, inputs),
                point=conv_norm(inputs, half, 1),
                act=nn.ReLU(),
            )
        )
        entering = inputs if stride == 2 else half
        self.branch2 = nn.Sequential(
            conv_norm(entering, half, 1),
            nn.ReLU(),
            conv_norm(half, half, 3, stride, half),
            conv_norm(half, half, 1),
            nn.ReLU(),
        )
        if stride == 1:
            self.branch1 = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            x1, x2 = x.chunk(2, dim=1)
            out = torch.cat((x1, self.branch2(x2)), dim=1)
        else:
            out = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        return channel_shuffle(out, 2)


class ShuffleNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_norm(3, 4, 3), nn.ReLU())
        self.stage = nn.Sequential(ShuffleUnit(4, 4, 2), ShuffleUnit(8, 4, 1))
        self.last = nn.Sequential(conv_norm(8, 9, 1), nn.ReLU())
        self.fc = nn.Linear(9, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(self.stage(self.stem(x))).mean([2, 3]))
