"""Supernets and fresh subnets of an elastic space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nasplat.elastic import (
    ElasticConv2d,
    ElasticDepth,
    ElasticLinear,
    ElasticSpace,
    Scaled,
    Size,
    extract,
    reset_parameters,
)
from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.space import Arch, ordinal

SMALL = Arch({"depth": 1, "width": 4, "expand": 0.5, "kernel1": 3})


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def test_a_built_network_has_the_shapes_of_the_extracted_one(space: ElasticSpace, net: nn.Module) -> None:
    rng = np.random.default_rng(0)
    for arch in [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(5))]:
        assert shapes(space.build(arch)) == shapes(extract(net, arch))


def test_a_built_network_has_as_many_parameters_as_its_formula(space: ElasticSpace) -> None:
    w, h, k = 4, 2, 3
    stem, norm, head = 3 * w * 9, 2 * w, 5 * w + 5
    block = (w * k * k + w) + norm + w * h + h * w
    assert sum(p.numel() for p in space.build(SMALL).parameters()) == stem + norm + block + head


class Storage(TorchDispatchMode):
    """The number of entries of the largest tensor with storage that any operation makes."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.device.type != "meta":
                self.largest = max(self.largest, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


def test_building_a_subnet_never_makes_the_supernet(space: ElasticSpace) -> None:
    fresh = ElasticSpace("fresh", space.choices, network=space.network)
    with Storage() as storage:
        module = fresh.build(SMALL)
    assert storage.largest == max(p.numel() for p in module.parameters())
    assert storage.largest < max(p.numel() for p in space.supernet().parameters())


def test_seeds_decide_the_weights_and_no_other_draw_is_moved(space: ElasticSpace) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = space.build(SMALL, 1), space.build(SMALL, 1), space.build(SMALL, 2)
    nets = [space.supernet(1), space.supernet(1), space.supernet(2)]
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.stem.weight, again.stem.weight)
    assert not torch.equal(first.stem.weight, other.stem.weight)
    weights = [net.stem.source.bank.weight_0 for net in nets]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_built_network_starts_as_torch_starts_its_layers(space: ElasticSpace) -> None:
    module = space.build(space.largest())
    bound = 1 / np.sqrt(3 * 9)  # kaiming uniform with a = sqrt(5): 1 / sqrt(fan in)
    assert 0.9 * bound < module.stem.weight.abs().max().item() <= bound
    assert torch.equal(module.shared.weight, torch.ones(12))
    assert torch.equal(module.shared.running_var, torch.ones(12))
    assert torch.isfinite(module(torch.randn(2, 3, 9, 9))).all()


def test_an_architecture_from_outside_the_space_is_refused(space: ElasticSpace) -> None:
    with pytest.raises(InvalidArchitecture, match="width"):
        space.build(Arch({**SMALL, "width": 5}))


def test_weights_that_nothing_can_reset_are_an_error() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.ParameterList([torch.zeros(2)]))
    with pytest.raises(NasplatError, match=r"1 \(ParameterList\) holds weights: give it reset_parameters"):
        reset_parameters(module, 0)


class Own(nn.Module):
    """A linear layer between a buffer, a constant and a parameter that belong to no layer of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = ElasticLinear(3, Size(4, "width"))
        self.register_buffer("mean", torch.tensor([1.0, 2.0, 3.0]))
        self.scale = nn.Module()
        self.scale.gain = nn.Parameter(torch.rand(4))

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y = self.linear(arch=arch, x=x - self.mean + torch.tensor(0.5))
        return y * self.scale.gain[: y.shape[1]]


OWN = ElasticSpace("own", [ordinal("width", (2, 4))], network=Own, input_shape=(3,))


def test_a_network_may_have_parameters_buffers_and_constants_of_its_own() -> None:
    module, net, x = OWN.build(OWN.smallest(), seed=3), OWN.supernet(seed=3), torch.randn(5, 3)
    expected = F.linear(x - torch.tensor([0.5, 1.5, 2.5]), module.linear.weight, module.linear.bias)
    torch.testing.assert_close(module(x), expected * net.scale.gain[:2])
    assert shapes(module) == shapes(extract(net, OWN.smallest()))


def test_a_plain_dict_is_an_architecture_too() -> None:
    net, x = OWN.supernet(), torch.randn(2, 3)
    assert torch.equal(extract(net, {"width": 2})(x), net(x, Arch({"width": 2})))
    assert shapes(OWN.build({"width": 2})) == shapes(OWN.build(Arch({"width": 2})))


W = Size(8, "width")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            lambda: ElasticLinear(3, Size(8, "widht")),
            "^a size follows the choice 'widht': did you mean 'width'?",
        ),
        (lambda: ElasticLinear(3, Size(4, "width")), "^width is 8: give a number up to 4$"),
        (
            lambda: ElasticDepth([], Size(0, "widht")),
            "^a size follows the choice 'widht': did you mean 'width'?",
        ),
        (
            lambda: ElasticDepth([ElasticLinear(8, 8)], Size(2)),
            "^a depth of up to 2 over 1 blocks: give as many",
        ),
        (lambda: ElasticLinear(3, Size(8, "none")), r"^a size is 0, none = 0: expected 1 to 8$"),
        (
            lambda: ElasticConv2d(8, 8, 3, groups=Size(4, "groups")),
            "groups of a convolution follow groups: give",
        ),
        (lambda: ElasticConv2d(W, W, 3, groups=Scaled(W, 0.5)), None),
        (
            lambda: ElasticConv2d(8, 8, Size(5, "kernel")),
            r"gets kernels \[3, 4, 5\]: choose all odd, or all even",
        ),
    ],
)
def test_sizes_that_do_not_fit_the_choices_are_told_before_anything_is_built(
    layer: Callable[[], nn.Module], message: str | None
) -> None:
    values = {"width": (4, 8), "groups": (2, 4), "kernel": (3, 4, 5), "none": (0, 8)}
    space = ElasticSpace("net", [ordinal(name, v) for name, v in values.items()], network=layer)
    if message is None:
        space.check()
    else:
        with pytest.raises(NasplatError, match=message):
            space.check()
