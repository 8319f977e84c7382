"""Masks of removed channels: against weights cut by hand, and under permutations."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nasplat.channels import channel_spec, permute_state, random_permutation
from nasplat.errors import NasplatError
from nasplat.prune.masked import channel_masks, masked

from ..channels.architectures import ALL
from ..channels.conftest import trace


def without(spec, *removed: int) -> np.ndarray:
    kept = np.ones(max(space.stop for space in spec.spaces), dtype=bool)
    kept[list(removed)] = False
    return kept


def test_a_masked_network_is_the_network_cut_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Sigmoid(), nn.Flatten(), nn.Linear(16, 3)
    ).eval()
    network[1].running_mean.normal_()
    network[1].bias.data.normal_()
    x = torch.randn(5, 2, 4, 4)
    spec = channel_spec(network, x)
    out = masked(network, spec, without(spec, 3, 4))  # channels 0 and 1 are inputs, 2 to 5 the convolution's
    # a channel that is zero behind the norm is 1/2 behind the sigmoid, so the linear layer must lose its places too
    places = [*range(4), *range(12, 16)]
    maps = torch.sigmoid(network[1](network[0](x))).flatten(1)
    expected = maps[:, places] @ network[4].weight[:, places].T + network[4].bias
    torch.testing.assert_close(out(x), expected)
    assert torch.equal(out[1].running_var, network[1].running_var)


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.up = nn.Conv1d(1, 6, 1), nn.ConvTranspose1d(6, 4, 2, groups=2)
        self.head = nn.Conv1d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.stem(x))
        return self.head(torch.cat([y, y], 1))


def test_masks_of_grouped_transposed_and_concatenated_channels_are_those_counted_by_hand() -> None:
    spec = channel_spec(Grouped().eval(), torch.randn(2, 1, 3))
    # input 0, stem 1 to 6, up 7 to 10: its first two outputs come from the first three inputs
    masks = channel_masks(spec, without(spec, 2, 8, 9))
    stem = torch.tensor([1, 0, 1, 1, 1, 1]).bool()
    outputs = torch.tensor([[1, 0]] * 3 + [[0, 1]] * 3).bool()
    assert torch.equal(masks["stem.bias"], stem)
    assert torch.equal(masks["up.weight"], (stem[:, None] & outputs)[..., None].expand(6, 2, 2))
    assert torch.equal(masks["head.weight"].flatten(), torch.tensor([1, 0, 0, 1, 1, 0, 0, 1]).bool())


@pytest.mark.parametrize(
    "name", ["resnext", "vgg11", "densenet", "decoder", "lstm", "depthwise_then_grouped"]
)
@settings(max_examples=5, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999))
def test_masks_of_permuted_channels_are_permuted_masks(name: str, seed: int) -> None:
    spec = trace(name).spec
    kept = np.random.default_rng(seed).random(len(without(spec))) < 0.5
    order = random_permutation(spec, torch.Generator().manual_seed(seed))
    masks = channel_masks(spec, kept)
    others = {key: torch.zeros(shape) for key, shape in spec.structure.shapes.items() if key not in masks}
    expected = permute_state(spec, masks | others, order)
    found = channel_masks(spec, kept[order])
    assert found.keys() == masks.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)


def test_a_tied_tensor_is_masked_once_and_the_original_stays() -> None:
    network = ALL["decoder"].network()
    before, spec = copy.deepcopy(network.state_dict()), trace("decoder").spec
    hidden = next(space for space in spec.spaces if space.kind == "hidden")
    out = masked(network, spec, without(spec, hidden.start))
    assert out.lm_head.weight is out.wte.weight
    assert (out.wte.weight == 0).sum() == len(out.wte.weight)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_wrong_mask_of_channels_is_told_in_one_line() -> None:
    spec = channel_spec(nn.Linear(2, 3), torch.randn(1, 2))
    with pytest.raises(NasplatError, match="one bool for each of the 5 channels"):
        channel_masks(spec, np.ones(4, dtype=bool))
    with pytest.raises(NasplatError, match="came as int64"):
        channel_masks(spec, np.ones(5, dtype=np.int64))
