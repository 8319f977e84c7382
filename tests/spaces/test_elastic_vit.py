"""Vision transformers: published sizes, images of any shape, arguments as a person types them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat.conformance import check_space
from nasplat.elastic import ElasticSpace, extract
from nasplat.elastic.weights.soft import Masks, SoftArch
from nasplat.errors import NasplatError
from nasplat.measure import count_macs, count_params
from nasplat.plugins import load

elastic_vit = load("spaces", "elastic_vit")
DEFAULT: ElasticSpace = elastic_vit(input_shape=(1, 8, 8), classes=10, patch=2)
TOKEN: ElasticSpace = elastic_vit(input_shape=(1, 8, 8), classes=10, patch=2, pool="token")
NETS = {space: space.supernet().eval() for space in (DEFAULT, TOKEN)}


def published(width: int, heads: int, depth: int) -> dict[str, Any]:
    """A network of ViT (arXiv:2010.11929, table 1) or DeiT (arXiv:2012.12877, table 1) for ImageNet."""
    lists = {"width": [width], "heads": [heads], "depth": [depth], "ratio": [4.0]}
    return {"input_shape": (3, 224, 224), "classes": 1000, "patch": 16, "pool": "token", **lists}


@pytest.mark.parametrize(
    ("arguments", "params", "gmacs"),
    [
        (published(192, 3, 12), 5_717_416, None),  # DeiT-Ti, published as 5.7 M
        (published(384, 6, 12), 22_050_664, None),  # DeiT-S, published as 22 M
        (published(768, 12, 12), 86_567_656, 17.56),  # ViT-B/16, as torchvision documents its vit_b_16
        (published(1024, 16, 24), 304_326_632, 61.55),  # ViT-L/16, as torchvision documents its vit_l_16
    ],
)
def test_published_networks_have_their_published_sizes(
    arguments: dict[str, Any], params: int, gmacs: float | None
) -> None:
    space = elastic_vit(**arguments)
    with torch.device("meta"):
        network = extract(space.network(), space.largest())
    assert count_params(network) == params
    if gmacs is not None:
        macs = count_macs(network, torch.zeros(1, 3, 224, 224, device="meta"))
        assert macs / 1e9 == pytest.approx(gmacs, abs=0.006)


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({}, 3 * (9**2 + 9**3 + 9**4)),
        ({"depth": [1, 3], "heads": [2], "width": [8, 16]}, 2 * (3 + 3**3)),
        (
            {
                "depth": [12, 13, 14],
                "width": [192, 216, 240],
                "heads": [3, 4],
                "ratio": [3.5, 4],
                "head_dim": 64,
            },
            None,
        ),
    ],
)
def test_the_number_of_architectures_follows_the_formula(arguments: dict[str, Any], size: int | None) -> None:
    space = elastic_vit(input_shape=(3, 32, 32), classes=10, **arguments)
    assert space.size == (size or 3 * sum(4**depth for depth in (12, 13, 14)))  # the last: AutoFormer-T


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), space=st.sampled_from([DEFAULT, TOKEN]))
def test_every_architecture_equals_its_extracted_network_and_its_masks(
    seed: int, space: ElasticSpace
) -> None:
    net, arch = NETS[space], space.sample(np.random.default_rng(seed))
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected = net(x, arch)
        torch.testing.assert_close(extract(net, arch)(x), expected, atol=1e-5, rtol=1e-5)
        for kind in (SoftArch, Masks):
            torch.testing.assert_close(net(x, kind.one_hot(space, arch)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("sides", "patch"),
    [
        ((224, 224), 16),
        ((64, 64), 8),
        ((32, 32), 4),
        ((28, 28), 4),
        ((16, 16), 2),
        ((8, 8), 1),
        ((48, 80), 8),
    ],
)
def test_by_default_a_patch_leaves_at_least_six_along_the_shorter_side(
    sides: tuple[int, int], patch: int
) -> None:
    assert elastic_vit(input_shape=(3, *sides), classes=10).constants["patch"] == patch


@pytest.mark.parametrize("pool", ["mean", "token"])
def test_images_need_not_be_square_nor_have_three_channels(pool: str) -> None:
    lists = {"depth": [1, 2], "width": [8, 16], "heads": [1, 2], "ratio": [1, 2]}
    arguments = {"input_shape": (2, 8, 12), "classes": 3, "patch": 4, "pool": pool} | lists
    assert check_space(elastic_vit, **arguments) == []
    space = elastic_vit(**arguments)
    tokens = space.build(space.smallest()).get_parameter("positions.table.weight")
    assert tokens.shape == (6 + (pool == "token"), 8)


@pytest.mark.parametrize(
    "changed", [{"classes": 5}, {"patch": 4}, {"pool": "token"}, {"head_dim": 8}, {"heads": [2, 4]}]
)
def test_what_changes_the_networks_changes_the_hash(changed: dict[str, Any]) -> None:
    arguments = {"input_shape": (1, 8, 8), "classes": 10, "patch": 2}
    assert elastic_vit(**arguments).hash == DEFAULT.hash
    assert elastic_vit(**arguments | changed).hash != DEFAULT.hash


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patch": 3}, "patch = 3: give a number that divides both sides of images of 8x8 pixels"),
        ({"patch": 0}, "patch = 0: give a number that divides both sides of images of 8x8 pixels"),
        (
            {"heads": [3, 5]},
            "elastic_vit width = 64 is not divisible by heads = 5: change one of them, or give",
        ),
        ({"pool": "tokens"}, "elastic_vit pool = 'tokens': did you mean 'token'"),
        ({"width": []}, "elastic_vit width = []: give at least one number, all above 0"),
        ({"classes": 0}, "elastic_vit classes = [0]: give at least one number, all above 0"),
        ({"depth": [2, 2]}, "list each value once"),
    ],
)
def test_arguments_that_make_no_space_are_told_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NasplatError) as error:
        elastic_vit(**{"input_shape": (1, 8, 8), "classes": 10} | arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_images_that_only_pixels_divide_want_a_patch_of_their_own() -> None:
    make = load("spaces", "elastic_vit")
    with pytest.raises(
        NasplatError, match=r"^elastic_vit makes 49729 patches of 1x1 pixels out of images of 223x223: give"
    ):
        make(input_shape=(3, 223, 223), classes=2)
    assert make(input_shape=(3, 223, 223), classes=2, patch=223).constants["patch"] == 223
