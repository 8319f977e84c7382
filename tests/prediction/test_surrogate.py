"""Predictors as surrogates of search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nasplat as nas
from nasplat.errors import NasplatError
from nasplat.prediction import describe
from nasplat.prediction.surrogate import make_surrogate
from nasplat.space import Space, ordinal

CELLS = nas.load("spaces", "nasbench201")()
BARE = Space("bare", [ordinal("a", tuple(range(6))), ordinal("b", tuple(range(6)))])


@pytest.mark.parametrize("space", [CELLS, BARE], ids=lambda space: space.name)
@pytest.mark.parametrize(
    ("name", "arguments"), [("blend", {"trees": 5}), ("forest", {"trees": 5, "extra": True}), ("ridge", {})]
)
def test_it_is_the_predictor_on_encodings_and_graphs(
    name: str, arguments: dict[str, Any], space: Space
) -> None:
    rng = np.random.default_rng(0)
    archs = list(dict.fromkeys(space.sample(rng) for _ in range(24)))
    values = np.array([space.encode(arch).sum() for arch in archs], np.float64)
    mean, std = make_surrogate(space, name, arguments)(archs[:12], values[:12], 3)(archs[12:])
    plain = nas.load("predictors", name)(**arguments)
    found = plain.fit(describe(space, archs[:12]), values[:12], seed=3).predict(describe(space, archs[12:]))
    np.testing.assert_array_equal(mean, found.mean)
    np.testing.assert_array_equal(std, found.std)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("parzc", {}, "predictor 'parzc' reads neither encodings nor graphs, .* such as blend or forest"),
        ("latency_table", {}, "predictor 'latency_table' reads neither encodings nor graphs"),
        ("gates", {}, "predictor 'gates' reads graphs, and space 'bare' has neither graphs nor networks"),
        ("synflow", {}, "'synflow' is a Score, not a predictor"),
        ("forrest", {}, "forrest.*did you mean 'forest'"),
        ("forest", {"tres": 3}, "predictor 'forest' has no key 'tres'; did you mean 'trees'"),
    ],
)
def test_what_cannot_guide_a_search_is_refused_at_once(
    name: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(NasplatError, match=message) as caught:
        make_surrogate(BARE, name, arguments)
    assert "\n" not in str(caught.value)
