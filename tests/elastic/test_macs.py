"""Multiply-adds as a sum of terms, against counting each extracted network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.elastic import ElasticConv2d, ElasticDepth, ElasticLinear, ElasticSpace, Size, extract, macs
from nasplat.elastic.macs import mac_terms
from nasplat.elastic.meter import Meter
from nasplat.errors import NasplatError
from nasplat.measure import count_macs
from nasplat.plugins import load
from nasplat.space import Additive, Arch, Space, categorical, ordinal

IMAGE = {"input_shape": (1, 24, 24), "classes": 4}
SHALLOW = {"depth": [1, 2], "kernel": [3, 5], "expand": [2.0, 3.0]}
FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("elastic_convnet", {**IMAGE, **SHALLOW, "stages": 2, "width": [8, 16], "expand": [0.5, 1.0]}),
    ("elastic_convnet", {**IMAGE, **SHALLOW, "stages": 2, "block": "inverted", "squeeze_excite": True}),
    (
        "ofa_mobilenet",
        {**IMAGE, **SHALLOW, "resolution": [16, 24], "width": 0.5, "strides": [1, 2, 2, 1, 1, 2]},
    ),
    ("ofa_resnet", {**IMAGE, "depth": [1, 2], "expand": [0.2, 0.25], "width": [0.5, 0.65]}),
    ("mixpath", {**IMAGE, "kernel": [3, 5, 7], "depth": [[1], [1], [2], [1], [1]]}),
    ("slimmable", {**IMAGE, "per_stage": True, "depth": [1, 1, 1, 1, 1]}),
    ("elastic_vit", {**IMAGE, "patch": 6, "depth": [1, 2, 3]}),
    ("elastic_lm", {"input_shape": (9,), "classes": 7, "depth": [1, 2], "tied": True}),
    ("elastic_convnet", {**IMAGE, "stages": 2, "depth": [1], "width": [4], "kernel": [3]}),  # no choice
]


def counted(space: ElasticSpace, arch: Arch) -> int:
    assert space.input_shape
    kind = torch.float32 if space.vocabulary is None else torch.int64
    with torch.device("meta"):
        return count_macs(extract(space.network(), arch), torch.zeros((1, *space.input_shape), dtype=kind))


def some(space: Space, number: int) -> list[Arch]:
    rng = np.random.default_rng(11)
    return [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(number))]


@pytest.mark.parametrize(("family", "arguments"), FAMILIES)
def test_the_terms_of_every_family_add_up_to_what_its_networks_cost(
    family: str, arguments: dict[str, Any]
) -> None:
    space = load("spaces", family)(**arguments)
    terms = mac_terms(space)
    totals = Additive(space, terms)
    archs = some(space, 2)
    assert [totals.total(arch) for arch in archs] == [counted(space, arch) for arch in archs]
    assert len(terms) > 1 or len(space.choices) <= 1
    assert max(len(term.choices) for term in terms) <= 4


class Hidden(nn.Module):
    """Layers whose cost others decide: an unpadded kernel and a pooling change the image, a switch leaves one out."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ElasticConv2d(2, Size(8, "width"), Size(5, "kernel"), padding=0)
        self.second = ElasticConv2d(Size(8, "width"), 8, 3)
        self.gated = nn.ModuleDict({"a": nn.Conv2d(8, 8, 3), "b": nn.Conv2d(8, 8, 1)})
        self.head = ElasticLinear(8, 3)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        x = self.first(x, arch)
        if arch["pool"]:
            x = F.max_pool2d(x, 2)
        x = self.second(x, arch)
        if arch["gate"] != "none" and arch["pool"]:
            x = self.gated[str(arch["gate"])](x)
        return self.head(x.mean((2, 3)), arch)


HIDDEN = ElasticSpace(
    "hidden",
    [
        ordinal("width", (4, 8)),
        ordinal("kernel", (1, 3, 5)),
        categorical("pool", (False, True)),
        categorical("gate", ("none", "a", "b")),
    ],
    network=Hidden,
    input_shape=(2, 12, 12),
)


def test_terms_know_choices_that_a_layer_does_not_read() -> None:
    terms = mac_terms(HIDDEN)
    totals = Additive(HIDDEN, terms)
    assert {arch: totals.total(arch) for arch in HIDDEN.enumerate()} == {
        arch: counted(HIDDEN, arch) for arch in HIDDEN.enumerate()
    }
    assert {frozenset(term.choices) for term in terms} == {
        frozenset({"width", "kernel", "pool"}),  # the first two convolutions
        frozenset({"kernel", "pool", "gate"}),  # those of which one or none runs
        frozenset(),  # the head
    }


def test_the_network_of_this_room_is_counted_with_what_it_shares(space: ElasticSpace) -> None:
    totals = Additive(space, mac_terms(space))
    assert [totals.total(arch) for arch in space.enumerate()] == [
        counted(space, a) for a in space.enumerate()
    ]


def test_the_published_costs_are_the_bounds_of_a_space_too_large_to_list() -> None:
    space = load("spaces", "ofa_mobilenet")(input_shape=(3, 224, 224), classes=1000)
    totals = Additive(space, mac_terms(space))
    assert totals.bounds == (counted(space, space.smallest()), counted(space, space.largest()))
    low, high = 230_000_000, 235_000_000  # a phone's budget
    arch = totals.sample(np.random.default_rng(0), low, high)
    assert low <= counted(space, arch) < high


def test_terms_of_a_restriction_add_up_too() -> None:
    smaller = HIDDEN.restrict({"kernel": (3,), "gate": ("a", "none")})
    for terms in (mac_terms(smaller), mac_terms(HIDDEN)):
        totals = Additive(smaller, terms)
        assert [totals.total(arch) for arch in smaller.enumerate()] == [
            counted(HIDDEN, arch) for arch in smaller.enumerate()
        ]


def test_a_meter_that_remembers_says_the_same_as_a_new_one() -> None:
    meter, archs = Meter(HIDDEN), some(HIDDEN, 10)
    first = [dict(meter(arch)) for arch in archs]
    assert first == [dict(meter(arch)) for arch in archs] == [dict(Meter(HIDDEN)(arch)) for arch in archs]
    assert meter.read_for("second") == {"width", "pool", "gate"}  # it reads the first, its caller the others


class Skips(nn.Module):
    """An encoder gives a list, which its caller lengthens and a decoder empties: as in a U-Net."""

    def __init__(self) -> None:
        super().__init__()
        width = Size(8, "width")
        self.encoder, self.middle, self.decoder = (
            Encoder(width),
            ElasticConv2d(width, width, 3),
            Decoder(width),
        )

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        skips = self.encoder(x, arch)
        skips.append(self.middle(skips[-1], arch))
        return self.decoder(skips, arch)


class Encoder(nn.Module):
    def __init__(self, width: Size) -> None:
        super().__init__()
        self.first, self.second = ElasticConv2d(2, width, 3), ElasticConv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor, arch: Arch) -> list[Tensor]:
        y = self.first(x, arch)
        return [y, self.second(y, arch)]


class Decoder(nn.Module):
    def __init__(self, width: Size) -> None:
        super().__init__()
        self.layers = ElasticDepth([ElasticConv2d(width, width, 3) for _ in range(3)], Size(3, "depth"))
        self.last = ElasticConv2d(width, 1, 1)

    def forward(self, skips: list[Tensor], arch: Arch) -> Tensor:
        y = self.layers(skips.pop() + skips.pop(), arch)
        return self.last(F.interpolate(y, scale_factor=2.0) + skips.pop(), arch)


def test_lists_that_modules_change_are_metered_as_if_nothing_were_remembered() -> None:
    choices = [ordinal("width", (4, 8)), ordinal("depth", (1, 2, 3))]
    space = ElasticSpace("skips", choices, network=Skips, input_shape=(2, 8, 8))
    totals = Additive(space, mac_terms(space))
    assert [totals.total(arch) for arch in space.enumerate()] == [
        counted(space, a) for a in space.enumerate()
    ]


READS: dict[str, Callable[[Arch, ElasticSpace], bool]] = {
    "length": lambda arch, space: len(arch) == 3,
    "key": lambda arch, space: arch.key in {a.key for a in space.enumerate() if a["depth"] == 2},
    "equality": lambda arch, space: any(arch == a for a in space.enumerate() if a["depth"] == 2),
    "presence": lambda arch, space: "extra" in arch,
    "text": lambda arch, space: "depth=2" in repr(arch),
    "JSON": lambda arch, space: arch.to_json()["depth"] == 2,
}


@pytest.mark.parametrize("how", READS)
def test_whatever_way_an_architecture_is_read_is_told(how: str) -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (
                ElasticConv2d(3, Size(8, "width"), 3),
                ElasticConv2d(Size(8, "width"), 8, 3),
            )

        def forward(self, x: Tensor, arch: Arch) -> Tensor:
            x = self.first(x, arch)
            return self.second(x, arch) if READS[how](arch, space) else x

    choices = [
        ordinal("width", (4, 8)),
        ordinal("depth", (1, 2)),
        ordinal("extra", (1, 2), when={"depth": (2,)}),
    ]
    space = ElasticSpace("reads", choices, network=Reads, input_shape=(3, 6, 6))
    totals = Additive(space, mac_terms(space))
    assert [totals.total(arch) for arch in space.enumerate()] == [
        counted(space, a) for a in space.enumerate()
    ]


def test_a_network_that_counts_its_calls_is_refused() -> None:
    class Moody(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.calls = ElasticLinear(3, Size(4, "width")), 0

        def forward(self, x: Tensor, arch: Arch) -> Tensor:
            self.calls += 1
            return self.layer(x, arch) if self.calls < 2 else x

    space = ElasticSpace("moody", [ordinal("width", (2, 4))], network=Moody, input_shape=(3,))
    with pytest.raises(
        NasplatError, match=r"of moody takes \d+ multiply-adds, \d+ by its layers: let every module"
    ):
        mac_terms(space)


class Many(nn.Module):
    """A layer that cannot be told without all of twenty choices."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        return self.linear(x) if all(arch.values()) else x


def test_what_has_no_small_table_is_refused() -> None:
    space = ElasticSpace(
        "many", [ordinal(f"x{i}", (0, 1)) for i in range(20)], network=Many, input_shape=(3,)
    )
    with pytest.raises(NasplatError, match="a layer of many depend on too many choices: x0, x1"):
        mac_terms(space)
    with pytest.raises(NasplatError, match="depend on its input: give it an input_shape"):
        mac_terms(ElasticSpace("many", space.choices, network=Many))


def test_what_the_tour_does_not_show_is_found_by_random_architectures() -> None:
    with patch.object(macs, "_tour", lambda space, meter: [meter(space.largest())] and defaultdict(set)):
        terms = mac_terms(HIDDEN)
    assert {tuple(term.choices): term.table for term in terms} == {
        tuple(term.choices): term.table for term in mac_terms(HIDDEN)
    }
