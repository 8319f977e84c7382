"""Units: what may be removed next."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from nasplat.channels import channel_spec
from nasplat.prune.setaware import Units

from .tiny import EXAMPLE, residual


def test_a_unit_is_a_channel_of_the_stream_or_of_an_inner_layer() -> None:
    units = Units.of(channel_spec(residual(4), EXAMPLE))
    assert sorted(group.size for group in units.groups) == [4, 8]
    assert len(units) == 12
    held = np.concatenate(units.members)
    assert len(np.unique(held)) == len(held)  # no channel in two units


def test_a_unit_holds_the_neurons_that_additions_tie() -> None:
    units = Units.of(channel_spec(residual(4), EXAMPLE))
    neurons = torch.bincount(units.unit_of)
    stream = int(np.argmin([group.size for group in units.groups]))
    assert set(neurons[units.group_of == stream].tolist()) == {
        2
    }  # the stem's convolution, and the block's last


def test_no_group_loses_its_last_unit() -> None:
    units = Units.of(channel_spec(residual(4), EXAMPLE))
    kept = units.whole()
    for _ in range(len(units)):
        may = units.removable(kept)
        if len(may):
            kept = units.without(kept, int(may[0]))
    there = units.there(kept)
    assert [int(there[units.group_of == group].sum()) for group in range(2)] == [1, 1]
    assert not len(units.removable(kept))


def test_the_group_of_a_grouped_convolution_goes_as_a_whole() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1, groups=2), nn.ReLU(), nn.Conv2d(8, 3, 1)
    )
    spec = channel_spec(network, torch.zeros(1, 1, 4, 4))
    units = Units.of(spec)
    blocks = [unit for unit, group in enumerate(units.group_of) if units.groups[group].kind == "blocks"]
    assert blocks
    for unit in blocks:
        names = {
            space.name for space in spec.spaces for c in units.members[unit] if space.start <= c < space.stop
        }
        assert len(names) > 1  # the block itself, and the channels inside it
