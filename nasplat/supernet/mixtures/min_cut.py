"""The partition of a choice's options into two groups that resolves most of their conflict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

EXACT = 14  # options; 2^13 cuts take milliseconds
STARTS = 8  # of the search among more


@dataclass(frozen=True, slots=True)
class Cut:
    """Two groups of options, by position, the first option in the first; and what separating them is worth.

    score: by how much the mean distance of two options, drawn independently, falls when only those of one group still
    share weights. For choices of equally many options it ranks as the score of gradient matching does, which is
    the sum of all distances less that within groups; unlike the sum it does not favour choices of many options.
    """

    groups: tuple[tuple[int, ...], tuple[int, ...]]
    score: float


def min_cut(distances: Tensor) -> Cut:
    """The cut (arXiv:2203.15207) with the largest sum of distances between the groups, so the smallest within them.

    distances (n, n), symmetric, n >= 2: 1 - cosine of gradients, 0 to 2; NaN for options that share nothing, which
    do not conflict. Of equal cuts the most even. All 2^(n-1) - 1 cuts are tried up to EXACT options; beyond, moves of
    single options from several random cuts (networkx, at least half of the best sum) are repeatable but not exact.
    """
    weights = distances.double().cpu().nan_to_num(0.0).fill_diagonal_(0.0)
    n = len(weights)
    sides = _all_sides(n) if n <= EXACT else torch.stack(list(_moved(weights)))
    between = (sides @ weights * (1 - sides)).sum(1)
    best = sides[between >= between.max() - 1e-9]
    side = best[(2 * best.sum(1) - n).abs().argmin()].tolist()
    first, second = (tuple(k for k in range(n) if side[k] == group) for group in (0, 1))
    return Cut((first, second), 2 * float(between.max()) / n**2)


def _all_sides(n: int) -> Tensor:
    """Every cut (cuts, n) as zeros and ones, the first option at 0, none of them empty."""
    cuts = torch.arange(1, 2 ** (n - 1))
    bits = cuts[:, None] >> torch.arange(n - 1) & 1
    return torch.cat([torch.zeros(len(cuts), 1), bits], 1).double()


def _moved(weights: Tensor) -> Iterator[Tensor]:
    """Cuts that no move of a single option improves, and halves in order, which are never empty."""
    import networkx as nx

    n, rng = len(weights), torch.Generator().manual_seed(0)
    graph = nx.from_numpy_array(weights.numpy())
    yield (torch.arange(n) >= n // 2).double()
    for _ in range(STARTS):
        start = set(torch.randperm(n, generator=rng)[: n // 2].tolist())
        _, (_, second) = nx.approximation.one_exchange(graph, start, weight="weight", seed=0)
        side = torch.tensor([float(k in second) for k in range(n)], dtype=torch.double)
        if 0 < side.sum() < n:
            yield side if side[0] == 0 else 1 - side
