"""Fusion of parallel convolutions against the network before."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nasplat.compress import fold_norms, fuse_branches

from .blocks import RepVggBlock, lived_in


class Branches(nn.Module):
    """Any branches of one input, summed by Python's `sum`."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self.branches)


def check(network: nn.Module, x: Tensor, convolutions: int) -> nn.Module:
    """The fused network, which computes the same with so many convolutions and no norm."""
    network, x = lived_in(network).double(), x.double()
    fused = fuse_branches(network, x).module
    torch.testing.assert_close(fused(x), network(x), rtol=0, atol=1e-10)
    kinds = [type(part) for part in fused.modules()]
    assert sum(kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d) for kind in kinds) == convolutions
    return fused


def test_repvgg_blocks_become_plain_convolutions() -> None:
    network = nn.Sequential(RepVggBlock(3, 8, 2), RepVggBlock(8, 8, groups=4), RepVggBlock(8, 8))
    fused = check(network, torch.randn(2, 3, 9, 9), 3)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fused.modules())


def test_kernels_of_other_forms_are_laid_at_their_place() -> None:
    check(
        Branches(nn.Conv2d(2, 2, (1, 3), padding=(0, 1)), nn.Conv2d(2, 2, (3, 1), padding=(1, 0))),
        torch.randn(1, 2, 5, 6),
        1,
    )
    check(
        Branches(nn.Conv2d(2, 2, 5, padding=2), nn.Conv2d(2, 2, 3, padding=1), nn.Identity()),
        torch.randn(1, 2, 7, 7),
        1,
    )
    check(Branches(nn.Conv1d(2, 2, 3, padding=2, dilation=2), nn.BatchNorm1d(2)), torch.randn(1, 2, 9), 1)
    check(Branches(nn.Conv3d(2, 3, 3, 2, 1), nn.Conv3d(2, 3, 1, 2)), torch.randn(1, 2, 5, 5, 5), 1)


@pytest.mark.parametrize(
    ("branches", "reason"),
    [
        ((nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, groups=2)), "stride or groups"),
        ((nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=2, dilation=2)), "dilation"),
        ((nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), nn.Conv2d(4, 4, 1)), "other than zeros"),
        ((nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.Conv2d(4, 4, 1, padding=0)), ""),
        ((nn.Conv2d(4, 4, 3, padding=3, dilation=2), nn.Conv2d(4, 4, 1, padding=1)), ""),
        ((nn.Conv2d(4, 4, 3, padding=3, dilation=2), nn.Conv2d(4, 4, 2, padding=2, dilation=2)), "line up"),
    ],
)
def test_branches_of_different_geometry_stay_and_say_why(
    branches: tuple[nn.Module, ...], reason: str
) -> None:
    network, x = Branches(*branches).double(), torch.randn(1, 4, 8, 8, dtype=torch.float64)
    found = fuse_branches(network, x)
    torch.testing.assert_close(found.module(x), network(x), rtol=0, atol=1e-10)
    assert bool(found.left) == bool(reason)
    assert all(reason in why for why in found.left.values())


def test_a_residual_sum_of_different_inputs_is_left_alone() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.second(torch.relu(self.first(x)))

    found = fuse_branches(Residual(), torch.randn(1, 2, 5, 5))
    assert found.changed == ()


def test_a_convolution_that_others_read_stays_beside_the_fused_one() -> None:
    class Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(2, 2, 1) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            return (y + self.b(x) + self.c(x)) * y

    check(Read(), torch.randn(1, 2, 3, 3), 2)


def test_norms_fold_before_or_after_fusion() -> None:
    network = lived_in(nn.Sequential(RepVggBlock(2, 4), RepVggBlock(4, 4))).double()
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64)
    folded_first = fuse_branches(fold_norms(network, x).module, x).module
    torch.testing.assert_close(folded_first(x), network(x), rtol=0, atol=1e-10)


def test_branches_are_found_behind_layers_that_let_all_pass() -> None:
    x = torch.randn(1, 2, 5, 5)
    wide = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Identity(), nn.BatchNorm2d(2), nn.Dropout())
    check(Branches(wide, nn.Conv2d(2, 2, 1)), x, 1)
    folded = fold_norms(lived_in(nn.Sequential(RepVggBlock(2, 2))), x).module
    assert fuse_branches(folded, x).changed == ("0.wide.0",)


def test_what_works_in_place_without_a_reader_stays() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.relu = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x) + self.b(x)
            self.relu(y)
            return y

    check(InPlace(), torch.randn(1, 2, 5, 5), 1)
