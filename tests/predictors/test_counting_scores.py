"""params, macs and l2_norm against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nasplat.scoring import ScoreResult, score

LABELS = torch.tensor([0, 1])


def scores(net: nn.Module, *shape: int) -> dict[str, ScoreResult]:
    return score(net, torch.randn(2, *shape), LABELS, ["params", "macs", "l2_norm"])


def network() -> nn.Sequential:
    convs = [
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
    ]
    return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def test_parameters_of_norms_count_in_the_value_only() -> None:
    result = scores(network(), 3, 6, 6)["params"]
    assert result.per_module == {"0": 3 * 8 * 9, "3": 8 * 9 + 8, "6": 8 * 5 + 5}
    assert result.value == sum(result.per_module.values()) + 16


def test_frozen_parameters_do_not_count() -> None:
    net = network()
    net[0].requires_grad_(False)
    assert scores(net, 3, 6, 6)["params"].per_module["0"] == 0


def test_multiply_adds_are_outputs_times_weights_of_a_channel() -> None:
    result = scores(network(), 3, 6, 6)["macs"]
    assert result.per_module == {"0": 36 * 8 * 27, "3": 16 * 8 * 9, "6": 5 * 8}
    assert result.value == sum(result.per_module.values())


def test_products_outside_of_layers_count_in_the_value_only() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.project(self.project(x))
            return x @ x.mT

    result = scores(Attention(), 6, 4)["macs"]
    assert result.per_module == {"project": 2 * 6 * 4 * 4}
    assert result.value == 2 * 6 * 4 * 4 + 6 * 6 * 4


def test_the_l2_norm_is_the_sum_of_the_layers_norms() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    nn.init.constant_(net[0].weight, 2.0)
    nn.init.constant_(net[2].weight, -1.0)
    result = scores(net, 3)["l2_norm"]
    assert result.per_module == pytest.approx({"0": 2 * 12**0.5, "2": 8**0.5})
    assert result.value == pytest.approx(2 * 12**0.5 + 8**0.5)


@pytest.mark.parametrize("name", ["params", "macs", "l2_norm"])
def test_networks_without_layers_have_empty_sums(name: str) -> None:
    result = scores(nn.Sequential(nn.ReLU(), nn.Flatten()), 3)[name]
    assert (result.value, result.per_module) == (0.0, {})
