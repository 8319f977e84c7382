"""az_progressivity: how much each block of a network adds to the use of the channels."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from nasplat.scoring import Evidence, Score


def az_progressivity(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """The smallest growth from block to block of the entropy of az_expressivity (AZ-NAS, arXiv:2403.19232).

    Blocks, the stem included, weights and images: nasplat.scoring.block_maps; images (n, c, h, w) give their shape.
    Higher is better. Per module: each block's growth over the one before; the first block has none. Undefined
    where a block's output is constant.
    """
    entropies = evidence.block_entropies
    growth = {after: entropies[after] - entropies[before] for before, after in pairwise(entropies)}
    return min(growth.values()), growth


SCORE: Score = Score(
    name="az_progressivity",
    direction="maximize",
    needs=frozenset({"data"}),
    cost="one forward pass, shared with the other scores of AZ-NAS",
    paper="AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search, arXiv:2403.19232",
    function=az_progressivity,
    shares=frozenset({"block_entropies"}),
)
