"""Numbers that predictors are made with, and seeds."""

from __future__ import annotations

from typing import Any

import pytest

import nasplat
from nasplat.errors import NasplatError
from nasplat.prediction.limits import small_seed


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("forest", {"trees": 0}),
        ("forest", {"max_features": float("nan")}),
        ("boosting", {"members": 0}),
        ("boosting", {"rate": -0.5}),
        ("blend", {"trees": -1}),
        ("gcn", {"layers": 0}),
        ("gates", {"members": 0}),
        ("parzc", {"steps": 0}),
        ("operator_gnn", {"rounds": 0}),
        ("graph_transformer", {"hidden": 10}),
        ("latency_gnn", {"hidden": 0}),
        ("latency_table", {"blocks": {"a=1": float("nan")}}),
    ],
)
def test_numbers_out_of_range_are_refused_in_one_line(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(NasplatError, match=next(iter(arguments))) as refused:
        nasplat.load("predictors", name)(**arguments)
    assert "\n" not in str(refused.value)


def test_small_seeds_stay_and_large_ones_become_small_and_differ() -> None:
    assert [small_seed(seed) for seed in (0, 7, 2**32 - 1)] == [0, 7, 2**32 - 1]
    large = [small_seed(2**40 + i) for i in range(4)]
    assert len(set(large)) == 4
    assert all(0 <= seed < 2**32 for seed in large)
