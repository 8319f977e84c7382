"""Slimmable MobileNets: published counts, one width or one for each stage, switchable batch norms."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nasplat.elastic import ElasticSpace, extract
from nasplat.errors import NasplatError
from nasplat.measure import count_macs, count_params
from nasplat.plugins import load

slimmable = load("spaces", "slimmable")
TINY: dict[str, Any] = {
    "input_shape": (1, 12, 12), "classes": 3, "stem": 16, "channels": [16, 32], "depth": [1, 2], "width": [0.5, 1],
}  # fmt: skip


@pytest.mark.parametrize(
    ("width", "params", "macs"),
    [
        (0.25, 0.5, 41),
        (0.5, 1.3, 149),
        (0.75, 2.6, 325),
        (1.0, 4.2, 569),
    ],  # arXiv:1704.04861, table 6, millions
)
def test_every_width_has_the_counts_that_the_mobilenet_paper_prints(
    width: float, params: float, macs: int
) -> None:
    space = slimmable(input_shape=(3, 224, 224), classes=1000)
    module = space.build(space.arch({"width": width}))
    assert round(count_params(module) / 1e6, 1) == params
    assert round(count_macs(module, torch.zeros(1, 3, 224, 224)) / 1e6) == macs


def test_one_choice_is_for_the_whole_network_or_one_for_each_stage() -> None:
    whole, stages = slimmable(**TINY), slimmable(**TINY, per_stage=True)
    assert [choice.name for choice in whole.choices] == ["width"]
    assert [choice.name for choice in stages.choices] == ["width0", "width1", "width2"]
    assert (whole.size, stages.size) == (2, 8)


def channels(space: ElasticSpace, **widths: float) -> list[int]:
    """Output channels of the convolutions, from the stem on."""
    module = space.build(space.arch(widths))
    return [module.get_submodule("stem.conv").out_channels] + [
        module.get_submodule(f"blocks.{n}.{part}.conv").out_channels
        for n in range(3)
        for part in ("depthwise", "pointwise")
    ]


def test_a_depthwise_convolution_has_the_width_of_the_stage_before() -> None:
    assert channels(slimmable(**TINY), width=0.5) == [8, 8, 8, 8, 16, 16, 16]
    stages = slimmable(**TINY, per_stage=True)
    assert channels(stages, width0=1.0, width1=0.5, width2=1.0) == [16, 16, 8, 8, 32, 32, 32]


def test_every_width_keeps_statistics_and_weights_of_its_own_in_its_norms() -> None:
    x = torch.randn(8, 1, 12, 12)
    stays = {}
    for norm in ("keyed", "batch"):
        space = slimmable(**TINY, norm=norm)
        net, narrow = space.supernet().train(), space.smallest()
        before = extract(net, narrow).state_dict()
        net(x, space.largest()).sum().backward()
        after = extract(net, narrow).state_dict()
        stays[norm] = all(torch.equal(after[name], value) for name, value in before.items())
    assert stays == {"keyed": True, "batch": False}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norm": "switchable"}, "no norm is named 'switchable'"),
        ({"width": []}, "slimmable width = []: give at least one number"),
        ({"depth": [1]}, "slimmable depth = [1]: give one number for each of 2 stages"),
        ({"channels": [16, 0]}, "slimmable channels = [0]: give at least one number, all above 0"),
        ({"strides": [4, 2, 2]}, "divide the image by 16: a side of 12 pixels is too small"),
    ],
)
def test_arguments_that_make_no_space_are_told_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NasplatError) as error:
        slimmable(**TINY | arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
