"""How many weights every tensor keeps, and which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ranks: TypeAlias = NDArray[np.float64]
"""Scores of the weights of a tensor, flat."""
Flags: TypeAlias = NDArray[np.bool_]
"""Which weights of a tensor stay, flat."""
Shapes: TypeAlias = Mapping[str, Sequence[int]]


def uniform(shapes: Shapes, density: float) -> dict[str, float]:
    """Every tensor the same density."""
    return dict.fromkeys(shapes, density)


def erdos_renyi_kernel(shapes: Shapes, density: float) -> dict[str, float]:
    """Density of a tensor in proportion to (o + i + h + w) / (o i h w): large tensors lose more.

    The Erdos-Renyi-kernel rule of RigL (arXiv:1911.11134, section 3 (1)), after SET (arXiv:1707.04780). What would
    get more than all of its weights keeps all, and the others share the rest, so that the whole has this density.
    """
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    raw = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}
    full: set[str] = set()
    while len(full) < len(raw):
        free = raw.keys() - full
        rest = density * sum(sizes.values()) - sum(sizes[name] for name in full)
        factor = rest / sum(raw[name] * sizes[name] for name in free)
        over = {name for name in free if factor * raw[name] > 1}
        if not over:
            return {name: 1.0 if name in full else factor * raw[name] for name in raw}
        full |= over
    return dict.fromkeys(raw, 1.0)


LAYERWISE: dict[str, Callable[[Shapes, float], dict[str, float]]] = {
    "layer": uniform,
    "erk": erdos_renyi_kernel,
}
"""Rules that give every tensor a density of its own, before any weight is looked at."""


def counts_of(ideal: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers near ideal ones with the same sum, rounded: the largest remainders round up."""
    floors = {name: int(np.floor(value + 1e-9)) for name, value in ideal.items()}
    missing = round(sum(ideal.values())) - sum(floors.values())
    by_rest = sorted(ideal, key=lambda name: floors[name] - ideal[name])
    return floors | {name: floors[name] + 1 for name in by_rest[: max(0, missing)]}


def top(scores: Ranks, count: int) -> Flags:
    """The `count` highest scores, the earlier ones of equals."""
    kept = np.zeros(len(scores), dtype=bool)
    if count >= len(scores):
        return ~kept
    if count <= 0:
        return kept
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    kept |= scores > least
    kept[np.flatnonzero(scores == least)[: count - int(kept.sum())]] = True
    return kept


def top_of_all(scores: Mapping[str, Ranks], count: int) -> dict[str, Flags]:
    """The `count` highest scores of all tensors together: one threshold for the network."""
    kept = top(np.concatenate(list(scores.values())), count)
    ends = np.cumsum([len(ranks) for ranks in scores.values()])
    return dict(zip(scores, np.split(kept, ends[:-1]), strict=True))


def top_of_blocks(scores: NDArray[np.float64], n: int, axis: int) -> NDArray[np.bool_]:
    """The n highest of every m values, scores (..., m, ...) with m along the axis; the earlier ones of equals."""
    order = np.argsort(-scores, axis=axis, kind="stable")
    kept = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(kept, np.take(order, range(n), axis=axis), True, axis=axis)
    return kept
