"""What a predictor may know of one architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nasplat.errors import NasplatError
from nasplat.space import Arch, ArchGraph, Space

if TYPE_CHECKING:  # it imports torch, which samples do without
    from nasplat.channels.graph import ParameterGraph

Scores: TypeAlias = Mapping[str, float]
"""Name of a score to its value; NaN where it has none."""

Layers: TypeAlias = Mapping[str, Mapping[str, float]]
"""Name of a score to its values by module, in the order in which the modules run."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One architecture as predictors see it.

    encoding: `Space.encode` of it, (d,). graph: its operations and edges, where there is such a form. scores and
    layers: zero-cost scores, whole and by module, where they were computed. weights: the parameters of one trained
    network, where there is one.
    """

    arch: Arch
    encoding: NDArray[np.float32]
    graph: ArchGraph | None = None
    scores: Scores = field(default_factory=dict)
    layers: Layers = field(default_factory=dict)
    weights: ParameterGraph | None = None


def describe(
    space: Space,
    archs: Sequence[Arch],
    scores: Mapping[str, Scores] | None = None,
    layers: Mapping[str, Layers] | None = None,
    graphs: Callable[[Arch], ArchGraph] | None = None,
) -> list[Sample]:
    """Samples of architectures of a space; scores and layers go by `Arch.key`.

    graphs: what gives the graph of an architecture in a space whose notation has none, such as `traced`.
    """
    graph = space.notation.graph or graphs
    return [
        Sample(
            arch,
            space.encode(arch),
            None if graph is None else graph(arch),
            (scores or {}).get(arch.key, {}),
            (layers or {}).get(arch.key, {}),
        )
        for arch in archs
    ]


def graphs_for(needs: frozenset[str], space: Space) -> Callable[[Arch], ArchGraph] | None:
    """`traced` for a predictor that reads graphs and nothing in their place, where the space has networks."""
    wanted = "graph" in needs and "encoding" not in needs and space.has_networks
    return partial(traced, space) if wanted else None


def traced(space: Space, arch: Arch) -> ArchGraph:
    """The operations of the network itself, see `operator_graph`; NasplatError where there is none to trace."""
    import torch  # here: describing samples needs no torch otherwise

    from nasplat.prediction.operators import operator_graph

    if space.input_shape is None:
        raise NasplatError(
            f"space {space.name!r} says no input_shape, which tracing needs: give Space(..., input_shape=(3, 32, 32))"
        )
    return operator_graph(space.build(arch), torch.zeros(1, *space.input_shape))
