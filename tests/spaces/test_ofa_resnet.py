"""Once-for-All ResNet-50: its counts as ResNet-50-D, its size, its stem."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nasplat.errors import NasplatError
from nasplat.measure import count_macs, count_params
from nasplat.plugins import load

ofa_resnet = load("spaces", "ofa_resnet")
TINY: dict[str, Any] = {"input_shape": (1, 12, 12), "classes": 3, "channels": 16, "depth": [1, 2]}


def divisible(value: float) -> int:
    """The nearest multiple of 8 that is at least 8 and loses at most a tenth (arXiv:1801.04381)."""
    nearest = max(8, int(value + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * value else nearest


def count(arch: dict[str, Any], side: int, classes: int) -> tuple[int, int]:
    """Parameters and multiply-adds by the definition, written from the published code's rules, not from our layers.

    Widths are rounded to multiples of 8, the inner width after rounding to a whole number; a norm has two vectors.
    """
    side, stem = side // 2, divisible(divisible(64 * arch["width0_1"]) // 2)
    width = divisible(64 * arch["width0_2"])
    middle = 9 * stem * stem * arch["depth0"]
    params = 27 * stem + 2 * stem + middle + 2 * stem * arch["depth0"] + 9 * stem * width + 2 * width
    macs = (27 * stem + middle + 9 * stem * width) * side**2
    side //= 2
    for stage, (base, stride) in enumerate(zip((256, 512, 1024, 2048), (1, 2, 2, 2), strict=True), 1):
        out = divisible(base * arch[f"width{stage}"])
        for block in range(1, arch[f"depth{stage}"] + 1):
            inner = divisible(round(out * arch[f"expand{stage}_{block}"]))
            smaller, shortcut = (side // stride, width * out) if block == 1 else (side, 0)
            params += (width + 9 * inner + out) * inner + 4 * inner + 2 * out
            params += shortcut + 2 * out * (block == 1)
            macs += width * inner * side**2 + ((9 * inner + out) * inner + shortcut) * smaller**2
            width, side = out, smaller
    return params + width * classes + classes, macs + width * classes


def test_depths_3_4_6_3_are_resnet_50_d_with_its_published_counts(real_data: Path) -> None:
    space = ofa_resnet(input_shape=(3, 224, 224), classes=1000, expand=[0.25], width=[1.0])
    arch = space.arch({"depth0": 1, "depth1": 3, "depth2": 4, "depth3": 6, "depth4": 3})
    module = space.build(arch)
    with gzip.open(real_data / "model_tables" / "timm_imagenet_models.csv.gz", "rt") as file:
        rows = {(row["model"], row["img_size"]): row for row in csv.DictReader(file)}
    published = rows["resnet50d.ra2_in1k", "224"]
    assert count_params(module) == 25_576_264
    assert f"{count_params(module) / 1e6:.2f}" == published["param_count"]
    macs = count_macs(module, torch.zeros(1, 3, 224, 224)) / 1e9
    assert macs == pytest.approx(float(published["gmacs"]), rel=0.01)  # the table counts pooling too


@pytest.mark.parametrize("seed", range(4))
def test_networks_have_the_counts_of_the_definition(seed: int) -> None:
    space = ofa_resnet(input_shape=(3, 64, 64), classes=10, strides=[2, 2, 1, 2, 2, 2])
    arch = space.sample(np.random.default_rng(seed))
    module = space.build(arch)
    found = count_params(module), count_macs(module, torch.zeros(1, 3, 64, 64))
    assert found == count(dict(arch), 64, 10)


def test_the_number_of_architectures_follows_the_formula() -> None:
    space = ofa_resnet(input_shape=(3, 224, 224), classes=1000)
    assert space.size == 3**6 * 2 * (3**2 + 3**3 + 3**4) ** 3 * (3**4 + 3**5 + 3**6)


@pytest.mark.parametrize(("depth", "convolutions"), [([0], 2), ([1], 3)])
def test_the_stem_has_a_residual_convolution_or_none(depth: list[int], convolutions: int) -> None:
    space = ofa_resnet(**TINY, stem_depth=depth)
    net = space.supernet()
    assert "depth0" not in [choice.name for choice in space.choices]
    assert len([m for m in net.stem.modules() if type(m).__name__ == "ElasticConv2d"]) == convolutions


@pytest.mark.parametrize(
    ("side", "final", "pooled", "strides"),
    [
        (224, 7, True, None),
        (64, 4, True, None),
        (32, 4, False, None),
        (28, 4, False, None),
        (8, 4, False, None),
        (32, 1, True, [2, 2, 1, 2, 2, 2]),
        (31, 16, True, [1, 2, 1, 1, 1, 1]),
    ],
)
def test_small_images_keep_a_few_pixels(
    side: int, final: int, pooled: bool, strides: list[int] | None
) -> None:
    arguments = TINY | {"input_shape": (2, side, side), "strides": strides}
    space = ofa_resnet(**arguments)
    module, sides = space.build(space.largest()).eval(), []
    module.pool.register_forward_pre_hook(lambda _, inputs: sides.append(inputs[0].shape[-1]))
    assert module(torch.randn(2, 2, side, side)).shape == (2, 3)
    assert sides == [final]
    assert any(isinstance(layer, nn.MaxPool2d) for layer in module.modules()) == pooled


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norm": "keyed"}, "its norms have no key; choose one of batch"),
        ({"stem_depth": [1, 2]}, "ofa_resnet stem_depth = [1, 2]: give 0, 1 or both"),
        ({"stem_depth": []}, "ofa_resnet stem_depth = []: give 0, 1 or both"),
        ({"width": []}, "ofa_resnet width = []: give at least one number"),
        ({"expand": [0.0]}, "ofa_resnet expand = [0.0]: give at least one number, all above 0"),
        ({"channels": 0}, "ofa_resnet channels = [0]: give at least one number, all above 0"),
        ({"depth": [[1]] * 3}, "give one list, or one for each of 4 stages"),
        ({"strides": [2, 2, 2, 2, 2, 1]}, "divide the image by 32: a side of 12 pixels is too small"),
    ],
)
def test_arguments_that_make_no_space_are_told_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NasplatError) as error:
        ofa_resnet(**TINY | arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
