"""zico against loops over single weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.conformance import check_score
from nasplat.plugins import load
from nasplat.scoring import ScoreResult, score

IMAGES = torch.randn(6, 2, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.double)
LABELS = torch.tensor([0, 1, 2, 2, 0, 1])


def network() -> nn.Sequential:
    torch.manual_seed(0)
    parts = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 3)
    return nn.Sequential(*parts).double()


def zico(model: nn.Module, images: Tensor = IMAGES, labels: Tensor = LABELS) -> ScoreResult:
    return score(model, images, labels, ["zico"])["zico"]


def gradients_of(net: nn.Sequential, images: Tensor, labels: Tensor) -> list[np.ndarray]:
    net.zero_grad()
    F.cross_entropy(net(images), labels).backward()
    return [layer.weight.grad.flatten().numpy().copy() for layer in (net[0], net[4])]


def test_the_score_is_the_sum_over_single_weights_of_both_halves() -> None:
    net = network()
    first, second = (gradients_of(net, IMAGES[half], LABELS[half]) for half in (slice(3), slice(3, 6)))
    logs = []
    for one, two in zip(first, second, strict=True):
        ratios = [np.mean(np.abs([a, b])) / np.std([a, b]) for a, b in zip(one, two, strict=True) if a != b]
        logs.append(math.log(sum(ratios)))
    result = zico(network())
    assert result.per_module == pytest.approx({"0": logs[0], "4": logs[1]}, rel=1e-9)
    assert result.value == pytest.approx(sum(logs), rel=1e-9)


class Spare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.spare, self.used = nn.Conv2d(2, 3, 3), network()

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


def test_a_layer_off_the_path_adds_nothing() -> None:
    result = zico(Spare())
    assert result.value == zico(network()).value
    assert result.per_module["spare"] == 0


def test_equal_halves_have_no_value() -> None:
    result = zico(network(), torch.cat([IMAGES[:3]] * 2), torch.cat([LABELS[:3]] * 2))
    assert (result.status, result.reason) == ("failed", "no weight's gradient varies between the two batches")


def test_one_image_and_labels_that_are_no_classes_are_not_judged() -> None:
    assert zico(network(), IMAGES[:1], LABELS[:1]).status == "not_applicable"
    assert zico(network(), labels=LABELS + 1).status == "not_applicable"


def test_every_promise_is_kept() -> None:
    assert check_score(load("predictors", "zico")) == []


def test_a_parametrized_weight_counts_as_the_weight_it_makes() -> None:
    net = network()
    nn.utils.parametrizations.weight_norm(net[0])
    plain = network()
    assert zico(net).per_module["0"] == pytest.approx(zico(plain).per_module["0"], rel=1e-6)
