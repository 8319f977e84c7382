"""What may go is tried: no network is believed that runs by luck with one channel less, or computes nearly the same."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.prune import Choice, Prunable, masked, plan_pruning, prunable
from nasplat.prune.probing import draws

from ...channels.architectures import Entry
from ...channels.nets.idioms import IDIOMS
from ...channels.test_sceptic import CASES
from .conftest import random_kept
from .reference import masked_outputs, outputs

FREE: dict[str, set[str]] = {
    "strided": set(),  # x[:, ::2] of fewer channels takes others
    "sliced": set(),
    "picked": set(),
    "order: counted_twice": set(),  # a sum of exp counts channels that are zero
    "order: three_statistics": set(),  # a deviation over channels
    "slopes": {"stem", "out"},  # chunk(3) of (8, 8, 6) is right, of (8, 8, 4) it is not
    "windows": {"stem", "qkv = qkv (2)"},  # so values go as queries do
    "temperatures": {"stem", "out", "qkv = qkv (2)"},
    "talking_heads": {"stem", "out", "qkv = qkv (2)"},
    "constants: masked_heads": {"stem", "out"},
    "constants: beside_channels": {"stem"},  # written for a batch of two
    "constants: a_first_state": {"stem"},
    "weight_normed": set(),
}
"""Modules of one idiom and the groups that may go, by their code."""


@cache
def probed(name: str) -> Prunable:
    make = (IDIOMS | CASES)[name]
    inputs = ((2, 3, 4, 4),) if isinstance(make().get_submodule("stem"), nn.Conv2d) else ((2, 5, 3),)
    entry = Entry(make, inputs, ())
    return prunable(entry.network(), entry.example())


@pytest.mark.parametrize("name", FREE)
def test_what_is_believed_is_right_for_other_cuts_too(name: str) -> None:
    network = probed(name)
    for seed in range(4):
        kept = random_kept(network, seed)
        small = network.plan(kept).apply(network.module)
        wanted = masked_outputs(masked(network.module, network.spec, kept), network.examples)
        torch.testing.assert_close(outputs(small, network.examples), wanted, rtol=1e-9, atol=1e-9)
    assert {group.name for group in network.groups} == FREE[name]


@pytest.mark.parametrize("sizes", [[2], [7, 3], [4] * 5, [2] * 33, [64] * 9 + [2, 2, 3]])
def test_groups_of_equal_size_lose_different_numbers_in_one_of_few_draws(sizes: list[int]) -> None:
    found = draws(sizes)
    assert len(found) <= 1 + len(sizes).bit_length()
    assert all(0 <= gone < size for lost in found for gone, size in zip(lost, sizes, strict=True))
    by_group = list(zip(*found, strict=True))
    assert all(any(lost) for lost in by_group)
    for a, size in enumerate(sizes):
        assert all(by_group[a] != by_group[b] for b in range(a) if sizes[b] == size)


class Shifted(nn.Module):
    """Channels that the code moves by one, behind an activation that leaves half of them at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, width), nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(torch.relu(self.stem(x)).roll(1, -1))
        return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [64, 256])
def test_channels_that_move_are_not_believed_however_many_they_are(width: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = prunable(Shifted(width).to(dtype).eval(), torch.randn(2, 6, dtype=dtype))
    assert network.frozen == {"stem": "its width enters what other channels compute"}


class Between(nn.Module):
    """A norm without weights between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.head = (
            nn.Linear(3, 8),
            nn.LayerNorm(8, elementwise_affine=False),
            nn.Linear(8, 2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.norm(self.stem(x)))
        return found


def test_a_norm_without_weights_is_given_the_width_that_it_meets() -> None:
    module, x = Between().eval(), torch.randn(2, 3)
    network = prunable(module, x)
    small = network.plan(random_kept(network, 1)).apply(module)
    assert small.norm.normalized_shape == (small.head.in_features,)
    assert 1 <= small.head.in_features < 8
    assert small(x).shape == (2, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_groups_are_the_same_in_lower_precision(dtype: torch.dtype) -> None:
    entry = Entry(IDIOMS["windows"], ((2, 3, 4, 4),), ())
    module, x = entry.network().to(dtype), entry.example()[0].to(dtype)
    network = prunable(module, x)
    assert {group.name for group in network.groups} == FREE["windows"]
    assert network.plan(random_kept(network, 0)).apply(module)(x).dtype == dtype


def test_an_input_of_a_certain_kind_is_looked_at_as_it_is() -> None:
    """Token numbers are not replaced, since random ones may be none."""
    module = nn.Sequential(nn.Embedding(3, 8), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    network = prunable(module, torch.tensor([[0, 2, 1]]), Choice(keep=("1",)))
    assert [group.name for group in network.groups] == ["0"]


class AtFour(nn.Module):
    """Code that does something else at one width."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.a(x))
        return self.b(y.roll(1, 1) if y.shape[1] == 4 else y)


def test_the_plan_itself_is_tried_before_it_is_given() -> None:
    torch.manual_seed(0)
    network, x = AtFour(), torch.randn(2, 4)
    assert plan_pruning(network, x, keep_ratio=0.6).groups[0].after == 5
    with pytest.raises(NasplatError, match="cut to these widths the network is not the masked one"):
        plan_pruning(network, x, keep_ratio=0.5)
