"""Pooling layouts: which there are, what they cost by formula, the published table."""

from __future__ import annotations

import csv
from itertools import product
from math import comb
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nasplat.data import CLASSIFICATION
from nasplat.elastic import ElasticSpace, extract, mac_terms
from nasplat.errors import NasplatError
from nasplat.export import export_network
from nasplat.measure import count_macs, count_params
from nasplat.plugins import load
from nasplat.space import Additive

pooling = load("spaces", "pooling")
CIFAR: dict[str, Any] = {"input_shape": (3, 32, 32), "classes": 10}
TINY: dict[str, Any] = {"input_shape": (1, 12, 12), "classes": 3, "body": [8, 8, 16, 16]}
RESNET20: ElasticSpace = pooling(**CIFAR)


def macs(layout: str) -> int:
    """Multiply-adds of ResNet-20 (arXiv:1512.03385) with 1x1 shortcuts, by the sides of its ten blocks."""
    lengths = [int(run) for run in layout.split("-")]
    sides = [32 >> scale for scale, run in enumerate(lengths) for _ in range(run)]
    widths = [16] * 4 + [32] * 3 + [64] * 3
    total = 27 * 16 * sides[0] ** 2 + 64 * 10
    for number in range(1, 10):
        before, width = widths[number - 1], widths[number]
        shortcut = before * width if before != width else 0
        total += (9 * before * width + 9 * width * width + shortcut) * sides[number] ** 2
    return total


def test_the_default_space_has_exactly_the_36_ways_to_write_10_as_three_numbers_and_4_3_3_is_its_network() -> (
    None
):
    layouts = {f"{a}-{b}-{10 - a - b}" for a, b in product(range(1, 9), repeat=2) if a + b < 10}
    found = [arch["pools"] for arch in RESNET20.enumerate()]
    assert len(found) == len(layouts) == RESNET20.size == 36
    assert set(found) == layouts
    assert dict(RESNET20.default()) == {"pools": "4-3-3"}


def test_the_layouts_of_the_published_table_are_the_architectures_of_the_space(real_data: Path) -> None:
    table = real_data / "pooling" / "resnet20_cifar10.csv"
    if not table.is_file():
        pytest.skip(f"no published table at {table}")
    with table.open() as file:
        layouts = [row["layout"] for row in csv.DictReader(file)]
    published = {RESNET20.arch({"pools": layout}).key for layout in layouts}
    assert published == {arch.key for arch in RESNET20.enumerate()}


def test_the_default_network_has_the_counts_of_resnet_20() -> None:
    module = RESNET20.build(RESNET20.default())
    convs = 27 * 16 + 6 * 9 * 16**2 + 9 * 16 * 32 + 5 * 9 * 32**2 + 9 * 32 * 64 + 5 * 9 * 64**2
    norms = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    shortcuts = 16 * 32 + 32 * 64 + 2 * (32 + 64)
    assert count_params(module) == convs + norms + shortcuts + 64 * 10 + 10
    assert f"{count_params(module) / 1e6:.2f}" == "0.27"  # arXiv:1512.03385, table 6
    assert count_macs(module, torch.zeros(1, 3, 32, 32)) == macs("4-3-3")
    assert round(macs("4-3-3") / 1e6) == 41


def test_the_tables_of_multiply_adds_hold_the_formula_for_every_layout() -> None:
    additive = Additive(RESNET20, mac_terms(RESNET20))
    assert {str(arch["pools"]): additive.total(arch) for arch in RESNET20.enumerate()} == {
        str(arch["pools"]): macs(str(arch["pools"])) for arch in RESNET20.enumerate()
    }
    assert additive.bounds == (macs("1-1-8"), macs("8-1-1"))


def test_the_multiply_adds_of_a_thousand_layouts_are_one_table() -> None:
    space = pooling(input_shape=(3, 64, 64), classes=10, body=[8] * 14, scales=6)
    (term,) = mac_terms(space)
    assert (space.size, len(term.table)) == (comb(13, 5), 1287)


@pytest.mark.parametrize(
    ("body", "size", "default"),
    [
        ("resnet18", comb(8, 3), "3-2-2-2"),
        ("resnet50", comb(16, 3), "4-4-6-3"),
        ("vgg11", comb(7, 4), "1-1-2-2-2"),
        ("vgg16", comb(12, 4), "2-2-3-3-3"),
        ([8, 8, 16, 16, 32, 32], 10, "2-2-2"),
    ],
)
def test_a_body_has_its_published_layout_among_all(body: str | list[int], size: int, default: str) -> None:
    space = pooling(**CIFAR, body=body)
    assert space.size == size
    assert space.default()["pools"] == default


@pytest.mark.parametrize(
    ("body", "params"),
    [
        ("resnet18", 11_173_962),
        ("resnet50", 23_520_842),
        ("vgg11", 9_231_114 - 2_752),
        ("vgg16", 14_728_266 - 4_224),
    ],
)
def test_bodies_have_the_parameters_of_their_networks(body: str, params: int) -> None:
    """As counted in widespread code for CIFAR-10, whose VGG has biases before its norms."""
    space = pooling(**CIFAR, body=body)
    with torch.device("meta"):
        assert count_params(extract(space.network(), space.default())) == params


@pytest.mark.parametrize("kind", ["max", "average"])
def test_a_network_is_its_blocks_with_a_pooling_before_those_that_begin_a_run(kind: str) -> None:
    space = pooling(**TINY, pools=[kind], scales=3)
    arch = space.arch({"pools": "1-2-1"})
    net = space.supernet().eval()
    x = images()
    weights = [p for name, p in net.named_parameters() if "conv" in name]
    halve = {"max": F.max_pool2d, "average": F.avg_pool2d}[kind]
    y = x
    for number, weight in enumerate(weights):
        y = halve(y, 2) if number in (1, 3) else y
        y = F.relu(F.conv2d(y, weight, padding=1) * (1 + 1e-5) ** -0.5)
    with torch.no_grad():
        torch.testing.assert_close(net(x, arch), net.head(y.mean((2, 3)), arch))


def images(n: int = 2, side: int = 12) -> Tensor:
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(0))


def test_all_layouts_use_all_weights_and_no_others() -> None:
    space = pooling(**TINY, scales=2, pools=["max", "strided"])
    net = space.supernet()
    used = {tuple(name for name, _ in extract(net, arch).named_parameters()) for arch in space.enumerate()}
    assert len(used) == 1
    assert count_params(extract(net, space.default())) == count_params(net)


def test_several_kinds_are_a_choice_for_each_down_sampling() -> None:
    space = pooling(**CIFAR, pools=["max", "average", "strided", "blur"])
    assert [choice.name for choice in space.choices] == ["pools", "pool1", "pool2"]
    assert space.size == 36 * 4**2
    assert dict(space.default()) == {"pools": "4-3-3", "pool1": "max", "pool2": "max"}


@pytest.mark.parametrize("side", range(1, 20))
def test_as_many_scales_are_allowed_as_leave_the_last_down_sampling_something_to_halve(side: int) -> None:
    most, left = 1, side
    while left > 1:
        most, left = most + 1, (left + 1) // 2
    shape = {"input_shape": (1, side, 40), "classes": 2, "body": [4] * 9}
    for scales in range(2, most + 1):
        assert pooling(**shape, scales=scales).size == comb(8, scales - 1)
    with pytest.raises(NasplatError, match=f"take a side of {side} pixels below 1x1; .* {most} scale"):
        pooling(**shape, scales=most + 1)


def test_a_network_of_all_kinds_with_odd_sides_exports_to_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    space = pooling(**TINY | {"body": [8] * 6, "input_shape": (1, 25, 22)}, scales=5,
                    pools=["max", "average", "strided", "blur"])  # fmt: skip
    kinds = {"pool1": "max", "pool2": "average", "pool3": "strided", "pool4": "blur"}
    module = extract(space.supernet().eval(), space.arch({"pools": "1-1-1-1-2", **kinds}))
    inputs = torch.randn(6, 1, 25, 22, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"task": CLASSIFICATION, "card": {"metrics": {}}}
    with torch.no_grad():
        options |= {"inputs": inputs, "targets": module(inputs).argmax(1)}
    bundle = export_network(module, tmp_path / "network", formats=("onnx",), **options)
    assert max(bundle.drift.values()) <= 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"body": "resnet34"}, "pooling body = 'resnet34': "),
        ({"body": []}, "pooling body = []: give at least one number"),
        ({"body": [8, 0]}, "pooling body = [8, 0]: give at least one number, all above 0"),
        (
            {"body": [8, 8], "block": "dense"},
            "pooling block = 'dense': known: conv, basic, bottleneck",
        ),
        ({"body": "vgg11", "block": "basic"}, "vgg11 has blocks of its own; leave it out"),
        ({"body": [8, 8, 8]}, "pooling scales = 1: a body of 3 blocks takes 2 to 3"),
        ({"scales": 5}, "pooling scales = 5: a body of 4 blocks takes 2 to 4"),
        ({"pools": "max"}, "pooling pools = 'max': give a list of different kinds, of max, average, blur"),
        ({"pools": ["max", "mean"]}, "pooling pools has 'mean': "),
        ({"pools": ["max", "max"]}, "give a list of different kinds"),
        ({"stem_stride": 0}, "pooling stem_stride = [0]: give at least one number, all above 0"),
        ({"stem_stride": 12}, "1 down-samplings take a side of 1 pixels below 1x1; give at most 1 scale"),
        ({"norm": "layer"}, "no norm is named 'layer'"),
        ({"classes": 0}, "pooling classes = [0]: give at least one number, all above 0"),
    ],
)
def test_arguments_that_make_no_space_are_told_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NasplatError) as error:
        pooling(**TINY | arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_restricted_space_is_known_by_the_largest_of_what_is_left() -> None:
    space = RESNET20.restrict({"pools": ["1-1-8", "7-1-2"]})
    assert space.default()["pools"] == "7-1-2"
