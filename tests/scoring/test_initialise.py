"""Fresh weights for scores that draw their own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasplat.scoring import NotApplicable, initialise
from nasplat.scoring.initialise import kaiming_normal


def test_weights_are_drawn_biases_zero_and_norms_new() -> None:
    net = nn.Sequential(nn.Conv2d(8, 50, 5), nn.BatchNorm2d(50), nn.GroupNorm(2, 50), nn.Linear(200, 50))
    for tensor in net.state_dict().values():
        tensor.fill_(7)
    initialise(net, kaiming_normal)
    state = net.state_dict()
    for name, fan_in in (("0", 200), ("3", 200)):
        assert float(state[f"{name}.weight"].var()) == pytest.approx(2 / fan_in, rel=0.1)
        assert not bool(state[f"{name}.bias"].any())
    for name, value in (
        ("1.weight", 1),
        ("1.bias", 0),
        ("1.running_mean", 0),
        ("1.running_var", 1),
        ("2.weight", 1),
    ):
        assert torch.equal(state[name], torch.full((50,), float(value))), name


def test_a_weight_made_from_others_cannot_be_drawn() -> None:
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 1)))
    with pytest.raises(NotApplicable, match="0 makes its weight from other parameters"):
        initialise(net, nn.init.normal_)
