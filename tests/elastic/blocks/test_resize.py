"""Elastic resolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nasplat.elastic import Size
from nasplat.elastic.blocks.resize import ElasticResize
from nasplat.space import Arch


def test_half_the_resolution_is_the_mean_of_two_by_two_pixels() -> None:
    x = torch.randn(2, 3, 8, 12)
    halved = ElasticResize(Size(8, "resolution"), (8, 12))(x, Arch({"resolution": 4}))
    torch.testing.assert_close(halved, F.avg_pool2d(x, 2))


def test_images_of_the_resolution_are_left_alone() -> None:
    x = torch.randn(1, 1, 6, 9)
    assert ElasticResize(6, (6, 9))(x, Arch({})) is x


@pytest.mark.parametrize(
    ("image", "resolution", "size"),
    [((10, 10), 7, (7, 7)), ((10, 20), 7, (7, 14)), ((20, 10), 12, (24, 12)), ((9, 10), 8, (8, 9))],
)
def test_the_shorter_side_gets_the_resolution_and_shapes_stay_alike(
    image: tuple[int, int], resolution: int, size: tuple[int, int]
) -> None:
    resize = ElasticResize(Size(12, "resolution"), image)
    y = resize(torch.ones(2, 1, *image), Arch({"resolution": resolution}))
    torch.testing.assert_close(y, torch.ones(2, 1, *size))
