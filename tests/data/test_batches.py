"""Batches hold every example once, in an order that seeds fix; predictions leave a module as it was."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nasplat.data import CLASSIFICATION, Split, batches, crop_and_flip, evaluate, generator, packed, predict


def numbered(n: int) -> Split:
    return Split(torch.arange(n).float().view(n, 1), torch.arange(n))


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 20), size=st.integers(1, 8), seed=st.integers(0, 2**40))
def test_each_example_comes_once_and_inputs_stay_with_their_targets(n: int, size: int, seed: int) -> None:
    pairs = list(batches(numbered(n), size, generator=generator(seed)))
    assert sorted(torch.cat([y for _, y in pairs]).tolist()) == list(range(n))
    assert all(x[:, 0].long().equal(y) for x, y in pairs)


def test_the_order_depends_on_the_seeds_only() -> None:
    def order(*seeds: int) -> list[int]:
        return [int(y) for _, y in batches(numbered(30), 1, generator=generator(*seeds))]

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert [int(y) for _, y in batches(numbered(30), 1)] == list(range(30))


@pytest.mark.parametrize("channels", [1, 3])
def test_packed_images_make_a_convolution_answer_in_their_order_whatever_their_channels(
    channels: int,
) -> None:
    images = packed(torch.rand(6, channels, 5, 5), channels_last=True)
    outputs = nn.Conv2d(channels, 4, 3)(images)
    assert outputs.is_contiguous(memory_format=torch.channels_last)
    assert packed(torch.rand(6, 3), channels_last=True).shape == (6, 3)


def test_crop_and_flip_gives_one_of_the_shifted_or_mirrored_images() -> None:
    images = torch.arange(2 * 2 * 4 * 3).float().view(2, 2, 4, 3) + 1
    padded = torch.nn.functional.pad(images, [1] * 4)
    windows = [padded[:, :, t : t + 4, s : s + 3] for t in range(3) for s in range(3)]
    legal = windows + [w.flip(3) for w in windows]
    seen = set()
    for seed in range(60):
        drawn = crop_and_flip(images, generator(seed), padding=1)
        for k in range(2):
            matches = [i for i, window in enumerate(legal) if window[k].equal(drawn[k])]
            assert len(matches) == 1
            seen.update(matches)
    assert seen == set(range(18))


def test_predictions_are_those_of_eval_mode_and_every_mode_comes_back() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.9), nn.BatchNorm1d(2))
    module[2].eval()
    inputs = torch.randn(7, 3)
    outputs = predict(module, inputs, batch_size=2)
    assert [part.training for part in module.modules()] == [True, True, True, False]
    assert not outputs.requires_grad
    torch.testing.assert_close(outputs, module.eval()(inputs).detach())


def test_accuracy_is_the_share_of_hits() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0], [1.0, 0.0]])
    split = Split(logits, torch.tensor([0, 1, 1, 0]))
    assert evaluate(nn.Identity(), split, CLASSIFICATION, batch_size=3) == 0.75
