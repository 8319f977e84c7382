"""MixPath: subsets of kernels, shadow batch norms, counts by formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nasplat.elastic import ElasticSpace, extract
from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.measure import count_macs, count_params
from nasplat.plugins import load

mixpath = load("spaces", "mixpath")
TINY: dict[str, Any] = {
    "input_shape": (1, 12, 12), "classes": 3, "width": [8, 12], "depth": [1], "kernel": [3, 5, 7], "expand": [2, 3],
    "stem": 4, "head": 16,
}  # fmt: skip
SPACE: ElasticSpace = mixpath(**TINY)


def test_the_published_space_has_thirty_options_in_each_of_twelve_blocks() -> None:
    space = mixpath(input_shape=(3, 32, 32), classes=10)
    assert space.size == (2 * (2**4 - 1)) ** 12
    assert [c.name for c in space.choices][:4] == ["expand1_1", "paths1_1", "expand1_2", "paths1_2"]


def test_the_extremes_have_one_path_and_all_paths() -> None:
    assert SPACE.smallest()["paths1_1"] == "3"
    assert SPACE.largest()["paths1_1"] == "3+5+7"


def count(arch: dict[str, Any], side: int) -> tuple[int, int]:
    """Parameters and multiply-adds of the published network (arXiv:2001.05887, S1) for square images, 10 classes.

    Twelve blocks of two 1x1 convolutions around the sum of depthwise ones, a norm of two vectors after each.
    """
    widths = [48, 48, 96, 96, 96, 192, 192, 192, 256, 256, 320, 320]
    names = [f"{s}_{b}" for s, blocks in enumerate((2, 3, 3, 2, 2), 1) for b in range(1, blocks + 1)]
    width, params, macs = 32, 27 * 32 + 64, 27 * 32 * side**2
    for number, (name, out) in enumerate(zip(names, widths, strict=True)):
        kernels = [int(kernel) for kernel in str(arch[f"paths{name}"]).split("+")]
        inner, smaller = width * arch[f"expand{name}"], side // (2 if number in (2, 5) else 1)
        squares = sum(kernel**2 for kernel in kernels)
        params += (width + squares + out) * inner + 2 * inner * (1 + len(kernels)) + 2 * out
        macs += width * inner * side**2 + (squares + out) * inner * smaller**2
        width, side = out, smaller
    return params + 320 * 1280 + 2 * 1280 + 1280 * 10 + 10, macs + 320 * 1280 * side**2 + 1280 * 10


@pytest.mark.parametrize("name", ["smallest", "largest"])
def test_networks_have_the_counts_of_the_definition(name: str) -> None:
    space = mixpath(input_shape=(3, 32, 32), classes=10)
    arch = getattr(space, name)()
    module = space.build(arch)
    assert (count_params(module), count_macs(module, torch.zeros(1, 3, 32, 32))) == count(dict(arch), 32)


def test_shadow_norms_keep_statistics_for_each_number_of_paths_and_plain_ones_blend_them() -> None:
    x = torch.randn(16, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    one, three = (SPACE.arch({**SPACE.largest(), "paths1_1": value}) for value in ("5", "3+5+7"))
    moved = {}
    for norm in ("keyed", "batch"):
        net = mixpath(**TINY, norm=norm).supernet().train()
        with torch.no_grad():
            net(x, one)
            before = [layer.running_mean.clone() for layer in last_norms(extract(net, one))]
            net(x, three)
            after = [layer.running_mean for layer in last_norms(extract(net, one))]
        moved[norm] = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert moved == {"keyed": [False], "batch": [True]}


def last_norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    """The norm after the projection of the first block."""
    return [
        m for name, m in module.named_modules() if name.startswith("stages.0.0") and "project.norm" in name
    ]


def test_expansions_have_weights_of_their_own() -> None:
    net = SPACE.supernet()
    narrow, wide = (SPACE.arch({**SPACE.largest(), "expand1_1": expand}) for expand in (2, 3))
    first, second = (
        {
            name.split(".mixed.")[1][:1]
            for name, _ in extract(net, arch).named_parameters()
            if "stages.0.0" in name
        }
        for arch in (narrow, wide)
    )
    assert (first, second) == ({"2"}, {"3"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dropout": -0.1}, "mixpath dropout = -0.1: give a share from 0 to below 1"),
        ({"norm": "shadow"}, "no norm is named 'shadow'"),
        ({"kernel": [3, 4]}, "mixpath kernel = [3, 4]: give odd numbers"),
        ({"kernel": []}, "mixpath kernel = []: give at least one number"),
        ({"expand": []}, "mixpath expand = []: give at least one number"),
        ({"width": [8, 0]}, "mixpath width = [0]: give at least one number, all above 0"),
        ({"depth": [[1]]}, "give one list, or one for each of 2 stages"),
        ({"strides": [4, 2, 2]}, "divide the image by 16: a side of 12 pixels is too small"),
    ],
)
def test_arguments_that_make_no_space_are_told_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NasplatError) as error:
        mixpath(**TINY | arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_subset_outside_the_space_is_refused() -> None:
    with pytest.raises(InvalidArchitecture, match="paths1_1 is '9': choose one of"):
        SPACE.arch({**SPACE.smallest(), "paths1_1": "9"})
