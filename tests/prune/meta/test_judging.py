"""What rewritten networks are judged by: validation accuracy of what is left."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from nasplat.measure import count_macs
from nasplat.prune.meta.judging import PrunedAccuracy

from .pupils import EXAMPLE, images, pupil


def judge() -> PrunedAccuracy:
    inputs, targets = images()
    return PrunedAccuracy(inputs[:15], targets[:15], inputs[15:], speedups=(1.0,), batch=10)


def test_nothing_is_pruned_at_once_the_speed_so_accuracy_is_that_of_batch_statistics() -> None:
    mine = judge()
    whole = replace(mine, training=mine.inputs, batch=15)
    network = pupil()
    with torch.no_grad():  # one batch of the same images: norms by batch, up to the unbiased variance
        right = (network.train()(mine.inputs).argmax(1) == mine.targets).double().mean()
    assert whole(pupil()) == pytest.approx(float(right), abs=1 / 15 + 1e-9)


def test_finetuning_happens_before_and_after_the_cut_of_each_speed_up() -> None:
    seen: list[tuple[str, int]] = []

    def note(when: str) -> object:
        return lambda network: seen.append((when, count_macs(network, EXAMPLE[:1])))

    mine = replace(judge(), speedups=(1.5, 3.0), before=note("before"), after=note("after"))
    mine(pupil(8))
    whole = count_macs(pupil(8), EXAMPLE[:1])
    assert [when for when, _ in seen] == ["before", "after", "after"]
    assert seen[0][1] == whole
    assert whole / 1.8 < seen[1][1] <= whole / 1.5
    assert whole / 4.0 < seen[2][1] <= whole / 3.0


def test_a_network_that_is_not_finetuned_stays_as_it_was() -> None:
    network = pupil()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    replace(judge(), speedups=(2.0,), after=lambda small: nn.init.zeros_(small[0].weight))(network)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
