"""Supernets and fresh subnets of an elastic space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nasplat.elastic import ElasticSpace, extract, reset_parameters
from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.space import Arch

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
