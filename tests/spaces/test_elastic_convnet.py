"""The first built-in space: sizes by formula, images of any shape, arguments as a person types them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nasplat.elastic import ElasticSpace, extract
from nasplat.errors import NasplatError
from nasplat.plugins import load

elastic_convnet = load("spaces", "elastic_convnet")
DEFAULT: ElasticSpace = elastic_convnet(input_shape=(1, 8, 8), classes=10)
NET = DEFAULT.supernet().eval()


@pytest.mark.parametrize(
    ("arguments", "widths", "depths", "options", "stages"),
    [
        ({}, 3, (1, 2, 3), 2, 3),
        ({"width": [8, 16]}, 2, (1, 2, 3), 2, 3),
        ({"expand": [1, 2]}, 3, (1, 2, 3), 4, 3),
        ({"stages": 4, "width": [8, 12, 16, 24, 32], "kernel": [3, 5, 7]}, 5, (1, 2, 3), 3, 4),
        ({"depth": [2, 4], "kernel": [3]}, 3, (2, 4), 1, 3),
        ({"block": "inverted"}, 3, (1, 2, 3), 4, 3),
    ],
)
def test_the_number_of_architectures_follows_the_formula(
    arguments: dict[str, Any], widths: int, depths: tuple[int, ...], options: int, stages: int
) -> None:
    space = elastic_convnet(input_shape=(3, 32, 32), classes=10, **arguments)
    assert space.size == (widths * sum(options**d for d in depths)) ** stages


def test_choices_are_named_by_stage_and_block_and_matter_by_depth() -> None:
    space = elastic_convnet(input_shape=(1, 16, 16), classes=4, stages=1, depth=[1, 2], expand=[1, 0.5])
    names = ["width1", "depth1", "kernel1_1", "expand1_1", "kernel1_2", "expand1_2"]
    assert [choice.name for choice in space.choices] == names
    assert dict(space.smallest()) == {"width1": 8, "depth1": 1, "kernel1_1": 3, "expand1_1": 0.5}


def test_one_list_of_widths_doubles_and_several_lists_are_taken_as_they_are() -> None:
    def widths(given: list[Any]) -> list[tuple[int, ...]]:
        space = elastic_convnet(input_shape=(1, 16, 16), classes=4, stages=2, width=given)
        return [choice.values for choice in space.choices if choice.name.startswith("width")]

    assert widths([6, 4]) == [(4, 6), (8, 12)]
    assert widths([[4, 6], [5]]) == [(4, 6)]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_architecture_runs_and_equals_its_extracted_network(seed: int) -> None:
    arch = DEFAULT.sample(np.random.default_rng(seed))
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(extract(NET, arch)(x), NET(x, arch), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "stages", "stem_stride", "sides"),
    [
        ((1, 8, 8), 3, 1, [8, 4, 2]),
        ((1, 8, 8), 5, 1, [8, 4, 2, 2, 2]),
        ((3, 28, 20), 3, 1, [20, 10, 5]),
        ((1, 2, 2), 3, 1, [2, 2, 2]),
        ((3, 64, 64), 3, 4, [16, 8, 4]),
    ],
)
def test_stages_halve_the_image_while_two_pixels_are_left(
    shape: tuple[int, int, int], stages: int, stem_stride: int, sides: list[int]
) -> None:
    space = elastic_convnet(
        input_shape=shape, classes=7, stages=stages, stem_stride=stem_stride, width=[2, 4], depth=[1]
    )
    module = space.build(space.smallest())
    seen: list[int] = []
    for name, layer in module.named_modules():
        if name.endswith(".0.activation"):
            layer.register_forward_hook(lambda _, __, y: seen.append(min(y.shape[2:])))
    assert module(torch.randn(2, *shape)).shape == (2, 7)
    assert seen == sides


def test_the_smallest_network_has_as_many_parameters_as_its_formula() -> None:
    def block(i: int, o: int, projected: bool) -> int:
        return 9 * i * o + 9 * o * o + 4 * o + (i * o + 2 * o if projected else 0)

    space = elastic_convnet(input_shape=(3, 16, 16), classes=10, depth=[1, 2], stem=5)
    arch = space.arch({**space.smallest(), "depth2": 2, "kernel2_2": 5})
    stages = block(5, 8, True) + block(8, 16, True) + block(16, 16, False) + block(16, 32, True)
    larger_kernel = (25 - 9) * 16 * 16
    expected = 9 * 3 * 5 + 2 * 5 + stages + larger_kernel + 32 * 10 + 10
    assert sum(p.numel() for p in space.build(arch).parameters()) == expected


def test_expansion_widens_the_inside_of_a_block() -> None:
    space = elastic_convnet(input_shape=(1, 8, 8), classes=3, stages=1, depth=[1], expand=[0.5, 2])
    module = space.build(space.arch({"width1": 12, "kernel1_1": 3, "expand1_1": 0.5}))
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in convolutions] == [(1, 8), (8, 6), (6, 12), (8, 12)]


def test_inverted_blocks_expand_filter_each_channel_and_project() -> None:
    space = elastic_convnet(
        input_shape=(1, 8, 8), classes=3, stages=1, depth=[1], width=[12], stem=4, block="inverted", expand=[2, 3],
        squeeze_excite=True,
    )  # fmt: skip
    block = space.build(space.smallest()).get_submodule("stages.0.0")
    found = {
        name: (m.in_channels, m.out_channels, m.groups)
        for name, m in block.named_modules()
        if isinstance(m, nn.Conv2d)
    }
    assert found == {
        "expand.conv": (4, 8, 1), "depthwise.conv": (8, 8, 8), "squeeze.reduce": (8, 8, 1),
        "squeeze.expand": (8, 8, 1), "project.conv": (8, 12, 1),
    }  # fmt: skip


def test_an_inverted_block_that_expands_by_one_has_no_expansion() -> None:
    space = elastic_convnet(input_shape=(1, 8, 8), classes=3, block="inverted", expand=[1])
    assert not any(".expand." in name for name, _ in space.build(space.largest()).named_modules())


def test_the_default_space_is_still_that_of_the_first_version() -> None:
    assert DEFAULT.hash == "d8fd896e772329cff006c91af35b8bb0082ea78953a2c2411783d67fb40e4c36"


@pytest.mark.parametrize(
    "changed",
    [
        {"classes": 5},
        {"stem": 4},
        {"stem_stride": 2},
        {"input_shape": (3, 8, 8)},
        {"kernel": [5]},
        {"block": "inverted", "expand": [1]},
        {"norm": "group"},
    ],
)
def test_what_changes_the_networks_changes_the_hash(changed: dict[str, Any]) -> None:
    assert elastic_convnet(**{"input_shape": (1, 8, 8), "classes": 10} | changed).hash != DEFAULT.hash


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": [3, 4]}, "kernel = [3, 4]: give odd numbers"),
        ({"depth": []}, "depth = []: give at least one number"),
        ({"depth": [0, 1]}, "depth = [0, 1]: give at least one number, all above 0"),
        ({"width": [[8], [16]]}, "width = [[8], [16]]: give one list, or one for each of 3 stages"),
        ({"width": [8, [16], [32]]}, "give one list, or one for each of 3 stages"),
        ({"stages": 0}, "stages = [0]: give at least one number, all above 0"),
        ({"depth": [1, 1]}, "list each value once"),
        ({"block": "invert"}, "elastic_convnet block = 'invert': did you mean 'inverted'?"),
        ({"squeeze_excite": True}, "squeeze_excite = true: give block = 'inverted' with it"),
        ({"norm": "layer"}, "no norm is named 'layer'"),
    ],
)
def test_arguments_that_make_no_space_are_told_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NasplatError) as error:
        elastic_convnet(input_shape=(1, 8, 8), classes=10, **arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("norm", ["group", "evonorm_s0"])
@pytest.mark.parametrize(("block", "expand"), [("residual", [0.75, 1]), ("inverted", [3, 6])])
def test_groups_of_channels_divide_the_widths_by_default(norm: str, block: str, expand: list[float]) -> None:
    arguments = {"input_shape": (1, 8, 8), "classes": 3, "norm": norm, "block": block, "expand": expand}
    load("spaces", "elastic_convnet")(**arguments).check()
    with pytest.raises(NasplatError, match=r"in groups of 8 gets \d+ channels: choose"):
        load("spaces", "elastic_convnet")(**arguments, norm_group=8).check()


@pytest.mark.parametrize("family", ["elastic_convnet", "ofa_mobilenet", "ofa_resnet"])
def test_a_family_without_a_key_names_the_norms_that_it_takes(family: str) -> None:
    with pytest.raises(
        NasplatError, match=f"^{family} norm = 'keyed': its norms have no key; choose one of batch, "
    ):
        load("spaces", family)(input_shape=(1, 8, 8), classes=3, norm="keyed")


def test_a_stem_that_strides_over_the_whole_image_is_refused() -> None:
    with pytest.raises(
        NasplatError, match=r"^elastic_convnet stem_stride = \[64\] divide the image by 64: a side of 16"
    ):
        load("spaces", "elastic_convnet")(input_shape=(1, 16, 20), classes=3, stem_stride=64)
