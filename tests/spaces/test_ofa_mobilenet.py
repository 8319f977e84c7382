"""Once-for-All MobileNetV3: its published counts, its sizes at small images, what its arguments mean."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from nasplat.elastic import ElasticSpace
from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.measure import count_macs, count_params
from nasplat.plugins import load
from nasplat.space import Arch

ofa_mobilenet = load("spaces", "ofa_mobilenet")
TINY: dict[str, Any] = {"input_shape": (1, 12, 12), "classes": 3, "width": 0.1, "depth": [1, 2]}


@pytest.fixture(scope="module")
def published() -> ElasticSpace:
    space: ElasticSpace = ofa_mobilenet(input_shape=(3, 224, 224), classes=1000)
    return space


def divisible(value: float) -> int:
    """The nearest multiple of 8 that is at least 8 and loses at most a tenth (MobileNetV2, arXiv:1801.04381)."""
    nearest = max(8, int(value + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * value else nearest


def count(kernels: Sequence[int], expands: Sequence[int], depths: Sequence[int]) -> tuple[int, int]:
    """Parameters and multiply-adds of an OFA-MobileNetV3 of width 1.0 at 224 x 224, 1000 classes, by its definition.

    Written from the tables of the papers (arXiv:1908.09791, arXiv:1905.02244), not from our layers: every convolution
    but the last has a batch norm with two vectors; biases are in squeeze-and-excitation and in the classifier.
    """
    side, width = 112, 16
    params = 27 * 16 + 2 * 16 + (9 * 16 + 2 * 16) + (16 * 16 + 2 * 16)
    macs = (27 * 16 + 9 * 16 + 16 * 16) * side**2
    stages = zip((24, 40, 80, 112, 160), (2, 2, 2, 1, 2), (0, 1, 0, 1, 1), depths, strict=True)
    for stage, (out, stride, excited, depth) in enumerate(stages):
        for block in range(depth):
            kernel, inner = kernels[4 * stage + block], divisible(width * expands[4 * stage + block])
            smaller = side // stride if block == 0 else side
            squeeze = divisible(inner // 4) * excited
            params += (width + kernel**2 + out) * inner + 4 * inner + 2 * out
            params += 2 * inner * squeeze + (inner + squeeze) * excited
            macs += width * inner * side**2 + (kernel**2 + out) * inner * smaller**2 + 2 * inner * squeeze
            width, side = out, smaller
    params += 160 * 960 + 2 * 960 + 960 * 1280 + 1280 * 1000 + 1000
    macs += 160 * 960 * side**2 + 960 * 1280 + 1280 * 1000
    return params, macs


Row = tuple[list[int], list[int], list[int], tuple[int, int]]


def published_rows(folder: Path) -> Iterator[Row]:
    """Kernels, expansions, depths and (params, MACs) of the searches published with DyNAS-T (IntelLabs, Apache-2.0)."""
    with gzip.open(folder / "ofa" / "ofa_mbv3_w10_search_runs.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            kernels, expands, depths = ([int(v) for v in row[key].split("-")] for key in ("ks", "e", "d"))
            yield kernels, expands, depths, (int(row["params"]), int(row["macs"]))


def arch(space: ElasticSpace, kernels: Sequence[int], expands: Sequence[int], depths: Sequence[int]) -> Arch:
    """The architecture of the published lists: 20 kernels, 20 expansions, 5 depths."""
    values: dict[str, Any] = {f"depth{s}": depth for s, depth in enumerate(depths, 1)}
    blocks = [f"{stage}_{block}" for stage in range(1, 6) for block in range(1, 5)]
    values |= {f"kernel{name}": kernel for name, kernel in zip(blocks, kernels, strict=True)}
    values |= {f"expand{name}": float(expand) for name, expand in zip(blocks, expands, strict=True)}
    return space.arch(values)


def measured(space: ElasticSpace, arch: Arch) -> tuple[int, int]:
    """Parameters and multiply-adds of the network that the space builds."""
    module = space.build(arch)
    return count_params(module), count_macs(module, torch.zeros(1, 3, 224, 224))


def test_the_definition_gives_the_counts_of_every_published_architecture(real_data: Path) -> None:
    rows = list(published_rows(real_data))
    assert len(rows) == 2373
    assert all(count(kernels, expands, depths) == counts for kernels, expands, depths, counts in rows)


def test_networks_have_the_published_counts(real_data: Path, published: ElasticSpace) -> None:
    for kernels, expands, depths, counts in list(published_rows(real_data))[::800]:
        assert measured(published, arch(published, kernels, expands, depths)) == counts


@pytest.mark.parametrize(
    ("name", "setting", "counts"),
    [
        ("largest", ([7] * 20, [6] * 20, [4] * 5), (7_664_760, 566_170_656)),
        ("smallest", ([3] * 20, [3] * 20, [2] * 5), (3_410_792, 121_278_672)),
    ],
)
def test_the_largest_and_the_smallest_network_have_the_counts_of_the_definition(
    published: ElasticSpace, name: str, setting: Any, counts: tuple[int, int]
) -> None:
    assert count(*setting) == counts
    extreme = getattr(published, name)()
    assert arch(published, *setting) == extreme
    assert measured(published, extreme) == counts


def test_the_published_space_has_about_2e19_architectures_at_one_resolution() -> None:
    space = ofa_mobilenet(input_shape=(3, 224, 224), classes=1000, resolution=range(128, 225, 4))
    assert space.size == 25 * (9**2 + 9**3 + 9**4) ** 5
    assert 2e19 < space.size / 25 < 2.3e19  # arXiv:1908.09791, section 3.2


@pytest.mark.parametrize(
    ("side", "final", "resolution", "strides"),
    [
        (224, 7, None, None),
        (96, 3, None, None),
        (32, 4, None, None),
        (28, 4, None, None),
        (8, 4, None, None),
        (2, 2, None, None),
        (32, 1, None, [2, 2, 2, 2, 1, 2]),
        (32, 2, [8], [1, 1, 2, 1, 1, 2]),
    ],
)
def test_the_last_feature_map_keeps_a_few_pixels_of_small_images(
    side: int, final: int, resolution: list[int] | None, strides: list[int] | None
) -> None:
    arguments = TINY | {"input_shape": (2, side, side), "resolution": resolution, "strides": strides}
    space = ofa_mobilenet(**arguments)
    module, sides = space.build(space.smallest()).eval(), []
    module.pool.register_forward_pre_hook(lambda _, inputs: sides.append(inputs[0].shape[-1]))
    assert module(torch.randn(2, 2, side, side)).shape == (2, 3)
    assert sides == [final]


def test_width_multiplies_every_published_width() -> None:
    space = ofa_mobilenet(input_shape=(3, 64, 64), classes=10, width=1.2, depth=[1], expand=[1], kernel=[3])
    module = space.build(space.smallest())
    names = ["stem.conv", *(f"stages.{n}.0.project.conv" for n in range(5)), "features.conv", "widen"]
    assert [module.get_submodule(name).out_channels for name in names] == [
        24,
        32,
        48,
        96,
        136,
        192,
        1152,
        1536,
    ]
    assert "stages.0.0.expand.conv" not in dict(module.named_modules())


def test_smaller_kernels_are_the_centre_of_larger_ones_until_their_transform_learns() -> None:
    x = torch.randn(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    learned, plain = (ofa_mobilenet(**TINY, kernel_transform=t) for t in (True, False))
    net = learned.supernet(seed=3)  # training mode: norms by batch statistics keep the signal alive
    smallest, largest = net(x, learned.smallest()), net(x, learned.largest())
    torch.testing.assert_close(smallest, plain.supernet(seed=3)(x, plain.smallest()))
    with torch.no_grad():
        for name, matrix in net.named_parameters():
            if "matrix" in name:
                matrix.mul_(0.5)
    assert not torch.allclose(net(x, learned.smallest()), smallest)
    torch.testing.assert_close(net(x, learned.largest()), largest)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "ofa_mobilenet width = [0.0]: give at least one number, all above 0"),
        ({"classes": 0}, "ofa_mobilenet classes = [0]: give at least one number, all above 0"),
        ({"dropout": 1.0}, "ofa_mobilenet dropout = 1.0: give a share from 0 to below 1"),
        ({"kernel": [3, 4]}, "ofa_mobilenet kernel = [3, 4]: give odd numbers"),
        ({"kernel": []}, "ofa_mobilenet kernel = []: give at least one number"),
        ({"expand": []}, "ofa_mobilenet expand = []: give at least one number"),
        ({"depth": [0, 1]}, "ofa_mobilenet depth = [0, 1]: give at least one number, all above 0"),
        ({"depth": [[1], [2]]}, "give one list, or one for each of 5 stages"),
        ({"strides": [2, 2, 2, 2]}, "ofa_mobilenet strides = [2, 2, 2, 2]: give 6 whole numbers"),
        ({"strides": [2, 2, 2, 2, 1, 2]}, "divide the image by 32: a side of 12 pixels is too small"),
        ({"resolution": [4, 12], "strides": [1, 2, 2, 2, 1, 1]}, "a side of 4 pixels is too small"),
        ({"norm": "bach"}, "did you mean 'batch'?"),
        ({"norm": "keyed"}, "its norms have no key; choose one of batch"),
    ],
)
def test_arguments_that_make_no_space_are_told_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NasplatError) as error:
        ofa_mobilenet(**TINY | arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_architecture_outside_the_space_is_refused() -> None:
    space = ofa_mobilenet(**TINY)
    with pytest.raises(InvalidArchitecture, match=r"kernel1_1 is 9: choose one of \[3, 5, 7\]"):
        space.build(space.arch({**space.smallest(), "kernel1_1": 9}))
