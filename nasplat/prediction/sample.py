"""What a predictor may know of one architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nasplat.space import Arch, ArchGraph, Space

Scores: TypeAlias = Mapping[str, float]
"""Name of a score to its value; NaN where it has none."""

Layers: TypeAlias = Mapping[str, Mapping[str, float]]
"""Name of a score to its values by module, in the order in which the modules run."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One architecture as predictors see it.

    encoding: `Space.encode` of it, (d,). graph: its operations and edges, where there is such a form. scores and
    layers: zero-cost scores, whole and by module, where they were computed.
    """

    arch: Arch
    encoding: NDArray[np.float32]
    graph: ArchGraph | None = None
    scores: Scores = field(default_factory=dict)
    layers: Layers = field(default_factory=dict)


def describe(
    space: Space,
    archs: Sequence[Arch],
    scores: Mapping[str, Scores] | None = None,
    layers: Mapping[str, Layers] | None = None,
) -> list[Sample]:
    """Samples of architectures of a space; scores and layers go by `Arch.key`."""
    graph = space.notation.graph
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
