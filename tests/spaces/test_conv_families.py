"""What every family of convolutional networks keeps, on a small configuration of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import vmap

from nasplat.conformance import check_space
from nasplat.data import CLASSIFICATION
from nasplat.elastic import ElasticSpace, extract
from nasplat.elastic.weights.soft import Masks, SoftArch, relax
from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.export import export_network
from nasplat.plugins import load
from nasplat.space import Arch

IMAGE: dict[str, Any] = {"input_shape": (2, 9, 11), "classes": 3}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "ofa_mobilenet": (
        "ofa_mobilenet",
        {"width": 0.1, "depth": [1, 2], "expand": [1, 2], "strides": [1, 2, 1, 2, 1, 1]},
    ),
    "ofa_resnet": (
        "ofa_resnet",
        {"channels": 16, "depth": [1, 2], "width": [0.5, 1], "expand": [0.25, 0.5], "strides": [1, 2, 1, 2, 1, 1]},
    ),
    "mixpath": (
        "mixpath",
        {"width": [8, 16], "depth": [1, 2], "kernel": [1, 3, 5], "expand": [1, 2], "stem": 8, "head": 16},
    ),
    "slimmable": ("slimmable", {"channels": [16, 32], "depth": [1, 2], "stem": 16, "width": [0.5, 1]}),
    "slimmable by stage": (
        "slimmable",
        {"channels": [16, 32], "depth": [1, 2], "stem": 16, "width": [0.5, 1], "per_stage": True},
    ),
    "elastic_convnet": ("elastic_convnet", {"stages": 2, "depth": [1, 2], "width": [8, 16], "expand": [1, 2]}),
    "inverted elastic_convnet": (
        "elastic_convnet",
        {"stages": 2, "depth": [1, 2], "width": [8, 16], "block": "inverted", "squeeze_excite": True},
    ),
    "pooling": (
        "pooling", {"body": [8, 8, 16, 16], "scales": 3, "pools": ["max", "average", "strided", "blur"]},
    ),
    "pooling of basic blocks": (
        "pooling", {"body": [8, 16, 16, 8], "block": "basic", "scales": 2, "pools": ["strided", "blur"]},
    ),
    "pooling of bottlenecks": ("pooling", {"body": [8, 8, 16, 16], "block": "bottleneck", "scales": 3}),
}  # fmt: skip
families = pytest.mark.parametrize("family", FAMILIES)
masked_families = pytest.mark.parametrize("family", [name for name in FAMILIES if "pooling" not in name])


def make(family: str, **changed: Any) -> ElasticSpace:
    """The small configuration of a family, its expansions as floats."""
    name, arguments = FAMILIES[family]
    space: ElasticSpace = load("spaces", name)(**IMAGE | arguments | changed)
    return space


def images(n: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(n, *IMAGE["input_shape"], generator=torch.Generator().manual_seed(seed))


def archs(space: ElasticSpace, n: int = 4) -> Iterator[Arch]:
    """The extremes and some architectures between."""
    rng = np.random.default_rng(0)
    yield from (space.smallest(), space.largest(), *(space.sample(rng) for _ in range(n)))


def settle(net: nn.Module, arch: Arch) -> nn.Module:
    """The net in evaluation mode, running statistics those of this architecture: the signal stays alive."""
    for layer in net.modules():
        if hasattr(layer, "momentum"):
            layer.momentum = 1.0
    with torch.no_grad():
        net.train()(images(16), arch)
    return net.eval()


def distance(a: Tensor, b: Tensor) -> float:
    """The largest difference over the spread of the second among images."""
    return float((a - b).abs().max() / b.std(0).max())


@families
def test_the_family_keeps_every_promise_of_a_space(family: str) -> None:
    name, arguments = FAMILIES[family]
    assert check_space(load("spaces", name), **IMAGE | arguments) == []


@families
def test_subnets_equal_the_supernet_where_the_signal_is_alive(family: str) -> None:
    space = make(family)
    net = space.supernet(seed=1)
    with torch.no_grad():
        for arch in archs(space):
            expected = settle(net, arch)(images(), arch)
            assert float(expected.std(0).max()) > 1e-2
            assert distance(extract(net, arch)(images()), expected) < 1e-5


@masked_families
@pytest.mark.parametrize("training", [False, True])
def test_soft_and_masked_execution_of_one_architecture_equal_slices(family: str, training: bool) -> None:
    space = make(family)
    net = space.supernet(seed=1)
    with torch.no_grad():
        for arch in archs(space):
            settle(net, arch).train(training)
            soft, masked = (net(images(), kind.one_hot(space, arch)) for kind in (SoftArch, Masks))
            sliced = net(images(), arch)
            assert distance(soft, sliced) < 1e-5
            assert distance(masked, sliced) < 1e-5


@masked_families
def test_several_masked_architectures_run_as_one_batch(family: str) -> None:
    space = make(family)
    net, x, several = space.supernet(seed=1).train(), images(), [*archs(space)]
    with torch.no_grad():
        together = vmap(lambda vector: net(x, Masks.unpack(space.choices, vector)))(relax(space, several))
        for arch, y in zip(several, together, strict=True):
            assert distance(y, net(x, arch)) < 2e-5


@families
def test_every_weight_of_the_largest_network_learns_in_one_step(family: str) -> None:
    space = make(family)
    module, labels = space.build(space.largest()).train(), torch.arange(8) % 3
    before = F.cross_entropy(module(images(8)), labels)
    before.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())
    torch.optim.SGD(module.parameters(), lr=0.01).step()
    after = F.cross_entropy(module(images(8)), labels)
    assert float(after.detach()) < float(before.detach())


@families
def test_every_weight_of_the_supernet_gets_a_gradient_from_some_architecture(family: str) -> None:
    space = make(family)
    net = space.supernet().train()
    untaught = dict(net.named_parameters())
    for arch in archs(space, 100):
        F.cross_entropy(net(images(), arch), torch.arange(4) % 3).backward()
        untaught = {name: p for name, p in untaught.items() if p.grad is None}
        if not untaught:
            break
    assert not untaught


class SideBySide(nn.Module):
    """Networks for the same images, their outputs one after the other: what one export costs pays for all."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([network(x) for network in self.networks], 1)


def test_subnets_of_all_families_export_as_source_and_as_a_program(tmp_path: Path) -> None:
    spaces = [make(f, depth=[1]) for f in ("ofa_mobilenet", "ofa_resnet", "inverted elastic_convnet")]
    spaces += [make("slimmable"), make("mixpath", depth=[2]), make("pooling of basic blocks")]
    archs = [space.sample(np.random.default_rng(3)) for space in spaces]
    subnets = [extract(settle(s.supernet(), a), a) for s, a in zip(spaces, archs, strict=True)]
    module, inputs = SideBySide([*subnets]).eval(), images(6)
    with torch.no_grad():
        targets = module(inputs).argmax(1)
    options: dict[str, Any] = {"formats": ("state", "pt2"), "task": CLASSIFICATION, "card": {"metrics": {}}}
    bundle = export_network(module, tmp_path / "network", inputs=inputs, targets=targets, **options)
    assert list(bundle.drift) == ["state", "pt2"]
    assert max(bundle.drift.values()) <= 1e-5


@pytest.mark.parametrize("norm", ["batch_statistics", "group", "evonorm_s0"])
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "slimmable by stage"])
def test_a_family_takes_norms_by_name(family: str, norm: str) -> None:
    space = make(family, norm=norm)
    assert space.hash != make(family).hash
    net, arch = space.supernet(), space.sample(np.random.default_rng(1))
    with torch.no_grad():
        expected = settle(net, arch)(images(), arch)
        assert distance(extract(net, arch)(images()), expected) < 1e-5


def test_a_group_that_divides_no_width_is_told_in_one_line() -> None:
    with pytest.raises(NasplatError, match="a norm in groups of 3 gets") as error:
        make("elastic_convnet", norm="group", norm_group=3).supernet()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("choice", ["resolution", "pools"])
def test_what_decides_the_size_of_images_cannot_be_masked(choice: str) -> None:
    space = make("pooling") if choice == "pools" else make("ofa_resnet", resolution=[8, 9])
    net = space.supernet()
    with pytest.raises(InvalidArchitecture, match=f"{choice} is soft and cannot be masked"):
        net(images(), Masks.one_hot(space, space.largest()))
