"""VGGs against published sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasplat.networks import vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn


def size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("classes", "millions"), [(10, 20.04), (100, 20.08)])
def test_vgg19_without_biases_has_the_size_that_network_slimming_states(
    classes: int, millions: float
) -> None:
    assert round(size(vgg19_bn(classes=classes, bias=False)) / 1e6, 2) == millions


def test_vgg19_with_biases_has_the_size_that_dependency_graphs_state() -> None:
    """20.09 M for 100 classes, the base of the published pruning at nine times fewer operations (arXiv:2301.12900)."""
    assert round(size(vgg19_bn(classes=100)) / 1e6, 2) == 20.09


@pytest.mark.parametrize(
    ("factory", "convolutions"), [(vgg11_bn, 8), (vgg13_bn, 10), (vgg16_bn, 13), (vgg19_bn, 16)]
)
def test_the_name_counts_layers_with_the_three_linear_ones_of_the_paper(factory, convolutions: int) -> None:
    network = factory(widths=(2, 2, 3, 3, 4), channels=1, classes=5)
    assert sum(isinstance(layer, nn.Conv2d) for layer in network.modules()) == convolutions
    assert network(torch.zeros(2, 1, 32, 32)).shape == (2, 5)


def test_four_poolings_leave_two_by_two_maps_of_cifar() -> None:
    assert vgg16_bn(widths=(2, 2, 2, 2, 3)).get_submodule("features")(torch.zeros(1, 3, 32, 32)).shape == (
        1,
        3,
        2,
        2,
    )
