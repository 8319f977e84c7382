"""Predictors as the surrogates of search: from architectures and their values to means and deviations of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nasplat.errors import NasplatError
from nasplat.prediction.making import make_predictor
from nasplat.prediction.sample import describe, graphs_for
from nasplat.space import Arch, Space

Floats: TypeAlias = NDArray[np.float64]
Belief: TypeAlias = Callable[[Sequence[Arch]], tuple[Floats, Floats]]
"""n architectures -> mean (n,) and standard deviation (n,)."""


def make_surrogate(
    space: Space, name: str, arguments: Mapping[str, Any] | None = None
) -> Callable[[Sequence[Arch], Floats, int], Belief]:
    """A predictor by its name as a function of n architectures, their values (n,) and a seed, fitted at each call.

    Samples have encodings, and graphs where the predictor reads them, but no scores: those would cost a network for
    each architecture that is asked about. NasplatError where it is no predictor, or can do nothing with those.
    """
    given = dict(arguments or {})
    needs = make_predictor(name, given).needs
    graphs = graphs_for(needs, space)
    _check(space, name, needs)

    def fit(archs: Sequence[Arch], values: Floats, seed: int) -> Belief:
        predictor = make_predictor(name, given).fit(describe(space, archs, graphs=graphs), values, seed=seed)

        def belief(others: Sequence[Arch]) -> tuple[Floats, Floats]:
            found = predictor.predict(describe(space, others, graphs=graphs))
            return found.mean, found.std

        return belief

    return fit


def _check(space: Space, name: str, needs: frozenset[str]) -> None:
    """Raise NasplatError for a predictor that reads nothing of what search can give it."""
    advice = "search by one that reads encodings, such as blend or forest"
    if not needs & {"encoding", "graph"}:
        raise NasplatError(
            f"predictor {name!r} reads neither encodings nor graphs, all that search knows before it measures: {advice}"
        )
    drawn = space.notation.graph is not None or space.has_networks
    if "encoding" not in needs and not drawn:
        raise NasplatError(
            f"predictor {name!r} reads graphs, and space {space.name!r} has neither graphs nor networks: {advice}"
        )
