"""Equalisation against the network before, and against the closed form of two layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasplat.compress import equalise, fold_norms, fuse_branches
from nasplat.networks import resnet

from .blocks import RepVggBlock, lived_in


def folded(network: nn.Module, x: torch.Tensor) -> nn.Module:
    return fold_norms(lived_in(network).double(), x).module


def uneven(network: nn.Module) -> nn.Module:
    """The network with weights of very different sizes, in float64."""
    for tensor in network.double().parameters():
        rows = torch.rand(len(tensor), *[1] * (tensor.ndim - 1), dtype=torch.float64)
        tensor.data.mul_(10 ** (4 * rows - 2))
    return network.eval()


def test_two_layers_meet_at_the_geometric_mean_of_their_ranges() -> None:
    network, x = (
        uneven(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))),
        torch.randn(5, 4).double(),
    )
    first, second = network[0].weight.abs().amax(1), network[2].weight.abs().amax(0)
    found = equalise(network, x)
    torch.testing.assert_close(found.module(x), network(x), rtol=1e-10, atol=1e-10)
    meeting = (first * second).sqrt()
    torch.testing.assert_close(found.module[0].weight.abs().amax(1), meeting)
    torch.testing.assert_close(found.module[2].weight.abs().amax(0), meeting)
    torch.testing.assert_close(found.factors["2"], (first / second).sqrt().detach())


def mixed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.LeakyReLU(), nn.Conv2d(6, 6, 3, groups=6, padding=1), nn.ReLU(),
        nn.Conv2d(6, 8, 3, groups=2), nn.MaxPool2d(2), nn.ConvTranspose2d(8, 4, 3, groups=2), nn.PReLU(4),
        nn.Flatten(), nn.Linear(64, 7), nn.ReLU6(), nn.Linear(7, 3),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("network", "shape", "stretches"),
    [
        (mixed(), (2, 2, 6, 6), 4),
        (resnet(8, channels=1, widths=(4, 8, 8)), (2, 1, 8, 8), 6),
    ],
)
def test_equalised_networks_compute_what_they_computed(
    network: nn.Module, shape: tuple[int, ...], stretches: int
) -> None:
    x = torch.randn(shape).double()
    before = folded(network, x)
    found = equalise(before, x)
    with torch.no_grad():
        torch.testing.assert_close(found.module(x), before(x), rtol=1e-9, atol=1e-9)
    assert len(found.changed) == stretches


def test_ranges_settle_so_that_another_round_changes_nothing() -> None:
    network = uneven(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 2)))
    x = torch.randn(4, 3).double()
    once = equalise(network, x)
    twice = equalise(once.module, x)
    assert all(float((factor - 1).abs().max()) < 1e-3 for factor in twice.factors.values())
    assert any(float((factor - 1).abs().max()) > 0.5 for factor in once.factors.values())


def test_what_is_not_homogeneous_stays_and_says_why() -> None:
    shapes = torch.randn(2, 3).double()
    network = uneven(
        nn.Sequential(
            nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 4), nn.ReLU6()
        )
    )
    found = equalise(network, shapes)
    assert found.changed == ()
    assert "fold norms first" in found.left["0"]
    assert "not positively homogeneous" in found.left["2"]
    torch.testing.assert_close(found.module(shapes), network(shapes), rtol=0, atol=0)


def test_fused_repvgg_blocks_equalise() -> None:
    network = lived_in(nn.Sequential(RepVggBlock(2, 4), RepVggBlock(4, 4), RepVggBlock(4, 4))).double()
    x = torch.randn(1, 2, 6, 6).double()
    found = equalise(fuse_branches(network, x).module, x)
    assert len(found.changed) == 2
    torch.testing.assert_close(found.module(x), network(x), rtol=1e-9, atol=1e-9)
