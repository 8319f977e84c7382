"""Parallel paths: sums of the active ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nasplat.elastic.blocks.paths import ElasticPaths, count_key
from nasplat.elastic.weights.soft import SoftArch
from nasplat.errors import InvalidArchitecture
from nasplat.space import Arch, subset

CHOICE = subset("paths1_1", [3, 5, 7])
VALUES = [str(value) for value in CHOICE.values]


class Times(nn.Module):
    """A path that multiplies by a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        return self.factor * x


def paths(choice: str | None = "paths1_1") -> ElasticPaths:
    return ElasticPaths({"3": Times(1.0), "5": Times(10.0), "7": Times(100.0)}, choice)


@pytest.mark.parametrize(("value", "factor"), [("3", 1), ("3+7", 101), ("3+5+7", 111), (5, 10)])
def test_the_active_paths_are_summed(value: str | int, factor: int) -> None:
    x = torch.randn(4)
    torch.testing.assert_close(paths()(x, Arch({"paths1_1": value})), factor * x)


def test_without_a_choice_all_paths_are_active() -> None:
    x = torch.randn(4)
    torch.testing.assert_close(paths(None)(x, Arch({})), 111 * x)


def test_a_soft_choice_weighs_each_path_with_its_probability() -> None:
    p = torch.rand(len(VALUES), generator=torch.Generator().manual_seed(0)).softmax(0)
    x = torch.randn(4)
    expected = sum(p[i] * paths()(x, Arch({"paths1_1": value})) for i, value in enumerate(VALUES))
    torch.testing.assert_close(paths()(x, SoftArch([CHOICE], {"paths1_1": p})), expected)


def test_the_key_counts_the_active_paths() -> None:
    key = count_key("paths1_1", 3)
    assert [key({"paths1_1": value}) for value in VALUES] == [0, 0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("values", [{}, {"paths1_1": "3+4"}, {"paths1_1": ""}])
def test_paths_that_there_are_not_are_refused_in_one_line(values: dict[str, str]) -> None:
    with pytest.raises(InvalidArchitecture, match=r"paths1_1 is .*: name some of the paths 3\+5\+7"):
        paths()(torch.zeros(1), Arch(values))
