"""An architecture that has not been proposed before, as near as possible to what a sampler wanted."""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import islice

import numpy as np

from nasplat.space import Arch, Space

MOST_NEIGHBOURS = 1000
RANDOM_TRIES = 1000


def find_unseen(
    space: Space, seen: Container[str], wanted: Sequence[Arch], rng: np.random.Generator
) -> Arch | None:
    """An architecture whose key is not in `seen`; None when there is none left.

    First a random one among the neighbours of the `wanted`, then a random one of the space, and last the first
    of the enumeration, which comes after at most as many steps as have been seen.
    """
    near = [
        arch
        for proposal in dict.fromkeys(wanted)
        for arch in islice(space.neighbours(proposal), MOST_NEIGHBOURS)
        if arch.key not in seen
    ]
    if near:
        return near[int(rng.integers(len(near)))]
    for _ in range(RANDOM_TRIES):
        arch = space.sample(rng)
        if arch.key not in seen:
            return arch
    return next((arch for arch in space.enumerate() if arch.key not in seen), None)
