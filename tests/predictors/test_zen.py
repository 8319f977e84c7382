"""zen against the expectation of its closed form on linear networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from nasplat.conformance import check_score
from nasplat.plugins import load
from nasplat.scoring import ScoreResult, score

IMAGES = torch.zeros(8, 3, 12, 12)
CHANNELS, PIXELS, FAN_IN = 40, 100, 27  # of a 3 x 3 convolution without padding


def zen(model: nn.Module, images: Tensor = IMAGES) -> ScoreResult:
    return score(model, images, torch.zeros(len(images), dtype=torch.long), ["zen"])["zen"]


def linear_net(*norm: nn.Module) -> nn.Sequential:
    """Maps, then what gives up the spatial axes."""
    return nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3), *norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 2)
    )


def test_a_convolution_alone_gives_the_mean_size_of_its_answer_to_the_step() -> None:
    # each unit answers 0.01 z with z of variance fan-in; the mean of |z| is sqrt(2 fan_in / pi)
    expected = math.log(0.01 * CHANNELS * PIXELS * math.sqrt(2 * FAN_IN / math.pi))
    result = zen(linear_net())
    assert result.value == pytest.approx(expected, abs=0.05)
    assert result.per_module == {"": result.value}


def test_a_norm_divides_the_answer_and_gives_its_scale_back() -> None:
    # unit variance after the norm; both batches enter a running variance that began at 1, with momentum 0.1
    answer = math.log(0.01 * CHANNELS * PIXELS * math.sqrt(2 / math.pi))
    scale = math.log(0.81 + 0.19 * FAN_IN) / 2
    for norm in (nn.BatchNorm2d(CHANNELS), nn.BatchNorm2d(CHANNELS, track_running_stats=False)):
        result = zen(linear_net(norm))
        assert result.per_module == pytest.approx({"1": scale, "": answer}, abs=0.05)
        assert result.value == pytest.approx(sum(result.per_module.values()))


def test_weights_statistics_and_contents_of_images_do_not_matter() -> None:
    net = linear_net(nn.BatchNorm2d(CHANNELS))
    before = zen(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(3.0)
        net[1].running_var.fill_(7.0)
    assert zen(net, IMAGES + 5).value == before.value


def test_what_follows_the_pooling_does_not_matter() -> None:
    net = linear_net()
    longer = nn.Sequential(*net, nn.ReLU(), nn.Linear(2, 7))
    assert zen(longer).value == zen(net).value


def test_without_norms_a_deep_network_stays_in_range() -> None:
    layers = [layer for _ in range(40) for layer in (nn.Conv2d(32, 32, 3, padding=1), nn.ReLU())]
    net = nn.Sequential(nn.Conv2d(3, 32, 3), *layers, nn.Flatten(), nn.Linear(3200, 2))
    result = zen(net, IMAGES[:2])
    assert result.status == "ok"
    assert result.value > math.log(torch.finfo(torch.float32).max)


class Dead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.zeros_like(x)).mean((2, 3))


def test_a_dead_network_has_no_value() -> None:
    result = zen(Dead())
    assert (result.status, result.reason[:24]) == ("failed", "the last maps change by ")


@pytest.mark.parametrize(
    ("net", "images"),
    [(nn.Sequential(nn.Flatten(), nn.Linear(432, 2)), IMAGES), (nn.Linear(5, 2), torch.zeros(4, 5))],
)
def test_networks_without_maps_are_not_judged(net: nn.Module, images: Tensor) -> None:
    assert zen(net, images).status == "not_applicable"


def test_every_promise_is_kept() -> None:
    assert check_score(load("predictors", "zen")) == []
