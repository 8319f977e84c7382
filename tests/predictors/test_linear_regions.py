"""linear_regions against counting, and against the number of pieces that hyperplanes cut a space into."""

from __future__ import annotations

import re
from math import comb

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.conformance import check_score
from nasplat.plugins import load
from nasplat.scoring import ScoreResult, score

IMAGES = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def regions(model: nn.Module, images: Tensor = IMAGES) -> ScoreResult:
    labels = torch.zeros(len(images), dtype=torch.long)
    return score(model, images, labels, ["linear_regions"])["linear_regions"]


@pytest.mark.parametrize("units", [1, 3, 5])
@pytest.mark.parametrize("pixels", [1, 2, 3])
def test_hyperplanes_through_the_origin_cut_as_many_pieces_as_counted(units: int, pixels: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(1, units, 4, bias=False)
    with torch.no_grad():
        conv.weight.flatten(1)[:, pixels:] = 0  # the function depends on so many pixels
    pieces = 2 * sum(comb(units - 1, i) for i in range(pixels))
    result = regions(nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(units, 2)))
    assert result.value == pieces
    assert result.per_module == {"1": pieces}


class Twice(nn.Module):
    """Activates an input and its negative: together they tell no more than one."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x) - F.relu(-x)


class TwoReLUs(nn.Module):
    """Takes no image of another size than 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second, self.head = nn.Linear(64, 2), nn.Linear(2, 2), nn.Linear(2, 2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.second(self.relu(self.first(x.flatten(1))))))


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (IMAGES, "the network does not run on images of 4 x 4: mat1 and mat2 shapes cannot be multiplied"),
        (IMAGES.flatten(1), r"inputs of shape \(40, 64\), torch.float32, are no images"),
    ],
)
def test_what_cannot_be_judged_on_tiny_images_is_not_judged_on_others(images: Tensor, reason: str) -> None:
    result = regions(TwoReLUs(), images)
    assert result.status == "not_applicable"
    assert re.match(reason, result.reason)


def test_relus_called_as_functions_and_layers_that_run_twice_count() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 4, bias=False), Twice(), nn.Flatten())
    assert regions(net).per_module == {"1": 2, "1#2": 2}
    assert regions(net).value == 2


def test_a_wide_layer_tells_all_inputs_apart() -> None:
    assert regions(nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU())).value == 3000


def test_a_network_without_relu_is_not_judged() -> None:
    result = regions(nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU()))
    assert (result.status, result.reason) == ("not_applicable", "the network has no ReLU")


def test_every_promise_is_kept() -> None:
    assert check_score(load("predictors", "linear_regions")) == []
