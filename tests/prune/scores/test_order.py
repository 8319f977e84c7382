"""What holds for every score: channels in another order, the same importance; the same seed, the same numbers."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat.channels import named_tensors, permute_state, random_permutation
from nasplat.prune.scores import SCORES, Evidence

from .networks import evidence


@pytest.mark.parametrize("score", [name for name in SCORES if name != "random"])
@settings(max_examples=5, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(
        ["resnet8", "resnext", "vgg11", "decoder", "densenet", "gru", "depthwise_then_grouped"]
    ),
    seed=st.integers(0, 99),
)
def test_importance_follows_channels_to_new_places(score: str, name: str, seed: int) -> None:
    of, one = SCORES[score], evidence(name, seed)
    order = random_permutation(one.spec, torch.Generator().manual_seed(seed))
    moved = copy.deepcopy(one.module)
    tensors = named_tensors(moved)
    for key, value in permute_state(one.spec, named_tensors(one.module), order).items():
        tensors[key].copy_(value)
    found = of(Evidence(moved, one.example, one.spec, one.loss))
    torch.testing.assert_close(found, of(one)[torch.from_numpy(order)], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("score", SCORES)
def test_a_seed_fixes_every_score_and_numbers_are_double_on_the_cpu(score: str) -> None:
    one = evidence("resnet8")
    found = SCORES[score](one)
    assert torch.equal(found, SCORES[score](one))
    assert (found.dtype, found.device.type) == (torch.float64, "cpu")
    assert found.shape == (max(space.stop for space in one.spec.spaces),)


def test_chance_is_uniform_over_channels_and_another_for_another_seed() -> None:
    one = evidence("vgg11")
    first, second = (
        SCORES["random"](Evidence(one.module, one.example, one.spec, seed=seed)) for seed in (0, 1)
    )
    assert not torch.equal(first, second)
    assert 0 <= float(first.min()) < float(first.max()) < 1
