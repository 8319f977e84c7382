"""Bounds on sizes are refused before a study starts only where the extremes of the space are known."""

from __future__ import annotations

import pytest
from torch import nn

from nasplat import Arch, Space, categorical, ordinal
from nasplat.errors import InvalidStudy
from nasplat.metric import Workbench, make_metric
from nasplat.space import Choice
from nasplat.study.feasible import check_bounds
from nasplat.study.plan import Bound, Plan

WIDTHS = [*range(100, 140), 1]  # the last one alone keeps the bound, and six draws will hardly find it


def check(choice: Choice) -> None:
    def build(arch: Arch) -> nn.Module:
        return nn.Linear(1, int(str(arch["width"])), bias=False)

    bench = Workbench(Space("widths", [choice], build=build, input_shape=(1,)))
    check_bounds(Plan((), (), (Bound(make_metric("params", {}, bench), None, 50),), None), bench)


def test_bound_that_neither_extreme_of_an_ordered_space_keeps_is_refused() -> None:
    with pytest.raises(InvalidStudy, match=r"params <= 50 cannot be met: .* have 100 to 139"):
        check(ordinal("width", WIDTHS[:-1]))


def test_bound_that_an_unseen_value_of_a_choice_without_order_keeps_is_not_refused() -> None:
    check(categorical("width", WIDTHS))
