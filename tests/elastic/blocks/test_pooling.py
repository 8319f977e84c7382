"""Down-samplings and blocks of pooling layouts against plain functions of torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nasplat.elastic import ElasticBatchNorm2d, extract
from nasplat.elastic.blocks.convolutional import Style
from nasplat.elastic.blocks.pooling import (
    BLOCKS,
    KINDS,
    Downsampling,
    Layouts,
    PooledStride,
    block_stride,
)
from nasplat.elastic.sizes import Size
from nasplat.space import Arch

SIDES = [(8, 6), (7, 5), (1, 2)]
LAYOUTS = Layouts(blocks=4, scales=3, kinds=("strided", "max"))


def image(height: int, width: int) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(height))


def reference(kind: str, x: Tensor) -> Tensor:
    """The kinds by their definitions, at odd sides too, where a border is filled with what changes nothing."""
    height, width = x.shape[2:]
    odd = (0, width % 2, 0, height % 2)
    if kind == "max":
        return F.max_pool2d(F.pad(x, odd, value=float("-inf")), 2)
    if kind == "average":
        ink, paper = (F.avg_pool2d(F.pad(part, odd), 2) for part in (x, torch.ones_like(x)))
        return ink / paper
    line = torch.tensor([1.0, 2.0, 1.0]) / 4
    filters = (line[:, None] * line).expand(3, 1, 3, 3)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), filters, stride=2, groups=3)


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("kind", ["max", "average", "blur"])
def test_a_kind_of_down_sampling_is_its_definition_at_even_and_odd_sides(
    kind: str, sides: tuple[int, int]
) -> None:
    x = image(*sides)
    y = KINDS[kind]()(x)
    assert y.shape[2:] == ((sides[0] + 1) // 2, (sides[1] + 1) // 2)
    torch.testing.assert_close(y, reference(kind, x))


def test_a_down_sampling_is_of_the_kind_that_its_own_choice_says() -> None:
    x, second = image(8, 8), Downsampling(LAYOUTS, 1)
    arch = Arch({"pools": "1-1-2", "pool1": "strided", "pool2": "max"})
    assert torch.equal(second(x, arch), F.max_pool2d(x, 2))
    assert second(x, Arch({**arch, "pool2": "strided"})) is x


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize(("block", "widths"), [("conv", (3, 8)), ("basic", (3, 3)), ("basic", (3, 8))])
def test_a_strided_block_is_the_dense_one_whose_first_convolution_and_shortcut_skip_pixels(
    block: str, widths: tuple[int, int], sides: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    net = BLOCKS[block](*widths, PooledStride(LAYOUTS, 2), Style()).eval()
    x = image(*sides)
    arch = Arch({"pools": "2-1-1", "pool1": "strided", "pool2": "max"})
    weights = {name: p for name, p in net.named_parameters() if "conv" in name}
    first, *rest = weights.values()
    scale = (1 + 1e-5) ** -0.5  # of a norm in evaluation that has seen nothing
    y = F.conv2d(x, first, padding=1)[..., ::2, ::2] * scale
    if block == "basic":
        shortcut = F.conv2d(x, rest[1]) * scale if widths[0] != widths[1] else x
        y = F.conv2d(F.relu(y), rest[0], padding=1) * scale + shortcut[..., ::2, ::2]
    with torch.no_grad():
        torch.testing.assert_close(net(x, arch), F.relu(y))
        torch.testing.assert_close(extract(net, arch)(x), F.relu(y))


def test_a_bottleneck_strides_its_spatial_convolution() -> None:
    torch.manual_seed(0)
    net = BLOCKS["bottleneck"](8, 8, PooledStride(LAYOUTS, 1), Style()).eval()
    arch = Arch({"pools": "1-2-1", "pool1": "strided", "pool2": "max"})
    strides = [m.stride for m in extract(net, arch).modules() if isinstance(m, torch.nn.Conv2d)]
    assert strides == [(1, 1), (2, 2), (1, 1)]


def test_only_blocks_that_something_strided_can_precede_have_an_elastic_stride() -> None:
    pooled = Layouts(4, 3, ("max", "blur"))
    strides = [block_stride(layouts, block) for layouts in (LAYOUTS, pooled) for block in (0, 1)]
    assert strides == [Size(1), PooledStride(LAYOUTS, 1), Size(1), Size(1)]


def test_keyed_norms_have_a_row_for_every_scale_at_which_a_block_can_be() -> None:
    layouts = Layouts(blocks=5, scales=3, kinds=("max",))
    (where,) = layouts.choices
    for block in range(layouts.blocks):
        key = layouts.norms("keyed", block).key
        lengths = [[int(run) for run in str(value).split("-")] for value in where.values]
        scales = [next(s for s in range(3) if block < sum(runs[: s + 1])) for runs in lengths]
        rows = {0} if key is None else {key(Arch({"pools": value})) for value in where.values}
        assert rows == {scale - min(scales) for scale in scales}
        assert key is None or len(key) == len(rows)


def test_a_keyed_norm_keeps_the_statistics_of_each_scale_apart() -> None:
    layouts = Layouts(blocks=4, scales=2, kinds=("max",))
    net = BLOCKS["conv"](3, 4, Size(1), Style(layouts.norms("keyed", 2))).train()
    (norm,) = (m for m in net.modules() if isinstance(m, ElasticBatchNorm2d))
    net(image(8, 8), Arch({"pools": "1-3"}))
    moved = (norm.running_mean != 0).any(1).tolist()
    assert moved == [False, True]
