"""nwot against counting agreeing units pair by pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.scoring import ScoreResult, score

IMAGES = torch.randn(6, 2, 5, 5, generator=torch.Generator().manual_seed(1))


def nwot(model: nn.Module, images: Tensor = IMAGES) -> ScoreResult:
    return score(model, images, torch.zeros(len(images), dtype=torch.long), ["nwot"])["nwot"]


class TwoKinds(nn.Module):
    """A ReLU layer that works in place, and a functional one of another shape."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
        self.relu, self.fc = nn.ReLU(inplace=True), nn.Linear(36, 10)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc(self.relu(self.norm(self.conv(x))).flatten(1)))

    def patterns(self, x: Tensor) -> list[list[bool]]:
        """The same network by hand, batch statistics included: one row of signs per image."""
        z = F.conv2d(x, self.conv.weight, self.conv.bias)
        z = (z - z.mean((0, 2, 3), keepdim=True)) / z.std((0, 2, 3), correction=0, keepdim=True)
        hidden = F.linear(z.clamp(min=0).flatten(1), self.fc.weight, self.fc.bias)
        return torch.cat([z.flatten(1) > 0, hidden > 0], dim=1).tolist()


def test_the_score_is_the_determinant_of_counted_agreements() -> None:
    net = TwoKinds()
    rows = net.patterns(IMAGES)
    counted = [[sum(a == b for a, b in zip(p, q, strict=True)) for q in rows] for p in rows]
    result = nwot(net)
    assert result.status == "ok"
    assert result.value == pytest.approx(np.linalg.slogdet(np.array(counted, dtype=float))[1], rel=1e-12)
    assert set(result.per_module) == {"relu", ""}


def test_the_parts_sum_to_the_number_of_images() -> None:
    parts = nwot(TwoKinds()).per_module
    assert sum(parts.values()) == pytest.approx(len(IMAGES))
    assert all(part > 0 for part in parts.values())


def test_evaluation_mode_of_the_caller_does_not_matter() -> None:
    assert nwot(TwoKinds().eval()).value == nwot(TwoKinds().train()).value


@pytest.mark.parametrize("kind", [nn.ReLU6, nn.LeakyReLU, nn.PReLU])
def test_relatives_of_relu_count_by_the_sign_of_their_input(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    first = nn.Conv2d(2, 8, 3)
    plain = nwot(nn.Sequential(first, nn.ReLU())).value
    assert nwot(nn.Sequential(first, kind())).value == pytest.approx(plain)


def test_a_relu_that_runs_twice_counts_twice() -> None:
    torch.manual_seed(0)
    relu = nn.ReLU()
    result = nwot(nn.Sequential(nn.Conv2d(2, 8, 3), relu, nn.Conv2d(8, 8, 1), relu))
    assert list(result.per_module) == ["1", "1#2"]


def test_equal_images_are_named() -> None:
    images = IMAGES.clone()
    images[4] = images[2]
    result = nwot(TwoKinds(), images)
    assert result.status == "failed"
    assert math.isnan(result.value)
    assert "images 2 and 4 have the same ReLU pattern" in result.reason


def test_too_few_units_are_told() -> None:
    torch.manual_seed(0)
    images = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    result = nwot(nn.ReLU(), images)  # two units give four patterns, and opposite ones are dependent
    assert result.reason == "the kernel is singular: 4 images, but its rank is 3"


def test_networks_without_relu_are_not_applicable() -> None:
    result = nwot(nn.Sequential(nn.Conv2d(2, 2, 3), nn.GELU(), nn.Hardtanh()))
    assert result.status == "not_applicable"
    assert result.reason == "the network has no ReLU"


def test_a_relu_beside_the_batch_axis_is_not_applicable() -> None:
    assert "shape (300,)" in nwot(nn.Sequential(nn.Flatten(0), nn.ReLU())).reason
