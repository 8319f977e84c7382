"""The subnet of an architecture as a part of its supernet's parameter graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import nasplat as nas
from nasplat.elastic.parameter_graph import subnet_graph
from nasplat.errors import NasplatError

FAMILIES: dict[str, dict[str, Any]] = {
    "elastic_convnet": {"input_shape": (1, 8, 8), "classes": 3},
    "slimmable": {"input_shape": (1, 8, 8), "classes": 3},
    "elastic_vit": {"input_shape": (3, 16, 16), "classes": 3},
}


def family(name: str) -> tuple[Any, Any, torch.Tensor]:
    """A small space, a supernet of it, and an input."""
    space = nas.load("spaces", name)(**FAMILIES[name])
    return space, space.supernet(seed=0).eval(), torch.randn(2, *space.input_shape)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_graph_over_the_supernet_holds_the_weights_of_the_extracted_subnet(name: str) -> None:
    space, net, x = family(name)
    arch = space.sample(np.random.default_rng(1))
    part, own = subnet_graph(net, arch, x), nas.parameter_graph(nas.extract(net, arch), x)
    assert part.tensors.keys() == own.tensors.keys()
    assert all(torch.equal(part.tensors[key], own.tensors[key]) for key in own.tensors)


def test_what_is_written_into_the_part_is_written_into_the_supernet() -> None:
    space, net, x = family("elastic_convnet")
    arch = space.sample(np.random.default_rng(1))
    before = net(x, arch)
    part = subnet_graph(net, arch, x)
    with torch.no_grad():
        for block in part.structure.blocks:
            part.tensors[block.parameter].mul_(1.5)
    scaled = nas.extract(net, arch)
    torch.testing.assert_close(scaled(x), net(x, arch))
    assert not torch.allclose(before, net(x, arch))


def test_gradients_of_a_part_flow_to_the_supernet_and_to_the_architecture_s_slice_only() -> None:
    space, net, x = family("slimmable")
    arch = space.sample(np.random.default_rng(2))
    part = subnet_graph(net, arch, x)
    sum(edges.sum() for edges in part.edges).backward()
    touched = sum(int((p.grad != 0).sum()) for p in net.parameters() if p.grad is not None)
    assert touched == sum(edges.numel() for edges in part.edges)


def test_weights_that_are_computed_from_several_are_refused() -> None:
    space = nas.load("spaces", "ofa_mobilenet")(input_shape=(3, 32, 32), classes=3)
    net = space.supernet(seed=0)
    smallest = min(
        (space.sample(np.random.default_rng(seed)) for seed in range(4)), key=lambda arch: str(arch)
    )
    with pytest.raises(
        NasplatError, match=r"computed from several numbers of the supernet.*a graph of its own"
    ):
        subnet_graph(net, smallest, torch.randn(1, 3, 32, 32))
