"""Which tensors of a network count as blocks and as last maps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, fx, nn

from nasplat.plugins import load
from nasplat.scoring import NotApplicable, Undefined, block_maps, trace_body
from nasplat.scoring.blocks import blocks

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


class Residual(nn.Module):
    """Two convolutions and a shortcut, with a squeeze in between that pools, but not for good."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(narrow, wide, 3, stride, 1), nn.BatchNorm2d(wide)
        self.conv2, self.norm2 = nn.Conv2d(wide, wide, 3, padding=1), nn.BatchNorm2d(wide)
        self.squeeze, self.shortcut = nn.Conv2d(wide, wide, 1), nn.Conv2d(narrow, wide, 1, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        y = y * torch.sigmoid(self.squeeze(y.mean((2, 3), keepdim=True)))
        return self.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, widths: tuple[int, ...] = (4, 8), head: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)
        self.stages = nn.ModuleList()
        narrow = 4
        for wide in widths:
            self.stages.append(nn.Sequential(Residual(narrow, wide, 2), Residual(wide, wide, 1)))
            narrow = wide
        self.head, self.fc = head or nn.Identity(), nn.Linear(narrow, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.conv(x)))
        for stage in self.stages:
            x = stage(x)
        return self.fc(self.pool(self.head(x)).flatten(1))


STAGES = ["stages.0.0", "stages.0.1", "stages.1.0", "stages.1.1"]


def names(model: nn.Module, images: Tensor = IMAGES) -> list[str]:
    return list(blocks(trace_body(model.train(), images)))


def test_a_residual_network_has_its_stem_and_its_residual_blocks() -> None:
    assert names(ResNet()) == ["conv", *STAGES]


def test_a_traced_network_has_the_same_blocks() -> None:
    assert names(fx.symbolic_trace(ResNet())) == ["conv", *STAGES]


def test_a_norm_behind_the_blocks_is_head_and_a_convolution_a_block() -> None:
    assert names(ResNet(head=nn.Sequential(nn.BatchNorm2d(8), nn.ReLU()))) == ["conv", *STAGES]
    assert names(ResNet(head=nn.Sequential(nn.Conv2d(8, 9, 1), nn.Conv2d(9, 8, 1))))[-2:] == [
        "head.0",
        "head.1",
    ]


def test_maps_are_what_the_blocks_return_although_layers_work_in_place() -> None:
    net = ResNet(head=nn.ReLU(inplace=True)).train()
    body = trace_body(copy.deepcopy(net), IMAGES)
    ends = blocks(body)
    maps = dict(zip(ends, body.until(list(ends.values()))(IMAGES), strict=True))
    seen: dict[str, Tensor] = {}
    for name in STAGES:
        net.get_submodule(name).register_forward_hook(
            lambda m, i, o, name=name: seen.update({name: o.clone()})
        )
    net(IMAGES)
    for name in STAGES:
        torch.testing.assert_close(maps[name], seen[name])


def test_block_maps_begin_with_kaiming_weights_and_normal_images() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 64, 5), nn.Conv2d(64, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).train()
    first = block_maps(net, IMAGES * 9)["0"].detach()
    assert float(first.var()) == pytest.approx(2, rel=0.05)  # fan-in times 2 / fan-in


def test_a_plain_chain_has_a_block_for_every_convolution() -> None:
    first = nn.Conv2d(3, 4, 3), nn.ReLU()
    second = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
    third = nn.Conv2d(4, 6, 3), nn.ReLU()
    net = nn.Sequential(*first, *second, *third, nn.Flatten(), nn.Linear(96, 5))
    body = trace_body(net.train(), IMAGES)
    assert {name: str(node.target) for name, node in blocks(body).items()} == {"0": "1", "2": "5", "6": "7"}


def test_a_network_of_nasbench201_has_stem_cells_and_reductions() -> None:
    space = load("spaces", "nasbench201")()
    arch = space.notation.read("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    cells = [[f"stage{k}.{i}" for i in range(5)] for k in (1, 2, 3)]
    expected = ["stem.conv", *cells[0], "reduction1", *cells[1], "reduction2", *cells[2]]
    assert names(space.build(space.arch(arch)), torch.randn(2, 3, 32, 32)) == expected


@pytest.mark.parametrize("size", [2, 4, 16])
def test_last_maps_are_those_before_the_pooling_at_every_size(size: int) -> None:
    body = trace_body(ResNet().train(), torch.randn(2, 3, size, size))
    side = max(1, size // 4)
    assert tuple(body.segments[-1].shape) == (2, 8, side, side)


def test_a_head_of_convolutions_on_one_pixel_lies_behind_the_last_maps() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 8, 1), nn.ReLU(), nn.Flatten()
    )
    assert tuple(trace_body(net.train(), IMAGES).segments[-1].shape[1:]) == (4, 14, 14)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.fc = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.patches(x).flatten(2).transpose(1, 2)).mean(1)


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (Tokens(), "the network turns its maps into tokens"),
        (Branches(), "the network does not trace"),
        (nn.Conv2d(3, 2, 3), "the network has no map .* that pooling or flattening turns into a vector"),
        (nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), "the network has no convolution before"),
    ],
)
def test_networks_without_last_maps_say_why(net: nn.Module, reason: str) -> None:
    with pytest.raises(NotApplicable, match=reason):
        trace_body(net, IMAGES)


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(4, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.bias * 2


def test_an_output_without_the_images_is_a_dead_network() -> None:
    with pytest.raises(Undefined, match="its output does not depend on the images"):
        trace_body(Constant(), IMAGES)


def test_one_block_is_too_few() -> None:
    with pytest.raises(NotApplicable, match="the network has 1 blocks, and progress needs two"):
        block_maps(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(392, 2)).train(), IMAGES)
