"""A pruned network is the masked one: on every architecture and on networks drawn at random.

The other side is `reference`, which cuts nothing: for layer, group and RMS norms it takes the statistics over the
channels that stay, so that these networks are compared exactly too, and not by their shapes alone.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nasplat.measure import count_macs, count_params
from nasplat.prune import Prunable, masked, prunable
from nasplat.prune.masked import Kept

from ...channels.architectures import ALL, Entry
from ...channels.test_random_networks import MAPS, TOKENS, RandomNet, Step, plans
from .conftest import prepared, random_kept
from .reference import masked_outputs, outputs

WHOLE = {
    "shufflenet_v2": (2, 2, 2, 2, 4),  # halves of what is shuffled, which must stay halves
    "padded_resnet": (4,),  # a padding of 2 on either side: the new channels are as many as the code says
    "lenet": (6,),  # view(-1, 54)
    "vit": (2, 2),  # heads of fixed number that share the width of the stream
    "multihead_vit": (2, 2),
    "decoder": (2, 2),
    "hand_written_cell": (6,),  # new_zeros(n, 6)
    "hard_reshape": (16,),
    "fused_three": (2, 2, 4),
    "fused_unbound": (4,),
    "multihead": (4,),
    "only_in_training": (8,),
}
"""Sizes of the groups that cannot go, by reading the code; of all other networks every group can."""


def check(network: Prunable, kept: Kept) -> nn.Module:
    """Plans, applies and compares; the smaller network."""
    plan = network.plan(kept)
    small = plan.apply(network.module)
    wanted = masked_outputs(masked(network.module, network.spec, kept), network.examples)
    torch.testing.assert_close(outputs(small, network.examples), wanted, rtol=1e-9, atol=1e-9)
    assert np.array_equal(plan.kept(network.spec), kept)
    assert plan.params == (count_params(network.module), count_params(small))
    for group, told in zip(network.groups, plan.groups, strict=False):  # frozen ones follow
        left = max(int(kept[row].sum()) for row in group.rows)
        assert (told.name, told.before, told.after) == (group.name, group.size, left)
    return small


@pytest.mark.parametrize("name", ALL)
def test_a_pruned_network_computes_what_the_masked_one_does(name: str) -> None:
    network = prepared(name)
    for seed in range(2):
        small = check(network, random_kept(network, seed))
        copy.deepcopy(small).train()(*network.examples)


@pytest.mark.parametrize("name", ALL)
def test_only_what_the_code_fixes_stays_whole_and_says_why(name: str) -> None:
    plan = prepared(name).plan(prepared(name).everything)
    frozen = [group for group in plan.groups if group.reason]
    assert Counter(group.before for group in frozen if group.before) == Counter(WHOLE.get(name, ()))
    assert all(len(reason) > 20 and "\n" not in reason for reason in plan.frozen.values())


@pytest.mark.parametrize("name", ["resnext", "mobilenet_v3", "unet", "vit", "decoder", "mixture"])
def test_a_plan_counts_the_multiply_adds_of_the_network_that_it_gives(name: str) -> None:
    network = prepared(name)
    plan = network.plan(random_kept(network, 5))
    (x,) = network.examples
    assert plan.macs == (count_macs(network.module, x), count_macs(plan.apply(network.module), x))


def drawn(make: Callable[[], nn.Module], shape: tuple[int, ...], seed: int) -> None:
    entry = Entry(make, (shape,), ())
    network = prunable(entry.network(seed), entry.example(seed))
    check(network, random_kept(network, seed))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(plans(MAPS, 6), st.booleans(), st.integers(0, 99))
def test_random_networks_of_maps_are_pruned_to_what_they_are_masked_to(
    plan: list[Step], flat: bool, seed: int
) -> None:
    drawn(lambda: RandomNet(nn.Conv2d(3, 4, 3, padding=1), MAPS, plan, flat), (2, 3, 4, 4), seed)


@settings(max_examples=7, deadline=None, derandomize=True)
@given(plans(TOKENS, 5), st.booleans(), st.integers(0, 99))
def test_random_networks_of_tokens_are_pruned_to_what_they_are_masked_to(
    plan: list[Step], flat: bool, seed: int
) -> None:
    drawn(lambda: RandomNet(nn.Linear(3, 4), TOKENS, plan, flat), (2, 4, 3), seed)
