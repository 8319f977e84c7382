"""az_expressivity: how evenly the blocks of a network use their channels."""

from __future__ import annotations

from collections.abc import Mapping

from nasplat.scoring import Evidence, Score


def az_expressivity(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """Sum over blocks of the entropy of their maps' principal components (AZ-NAS, arXiv:2403.19232).

    Blocks, the stem included, weights and images: nasplat.scoring.block_maps; images (n, c, h, w) give their shape.
    Higher is better. Per module: each block's entropy. Undefined where a block's output is constant.
    """
    entropies = evidence.block_entropies
    return sum(entropies.values()), entropies


SCORE: Score = Score(
    name="az_expressivity",
    direction="maximize",
    needs=frozenset({"data"}),
    cost="one forward pass, shared with the other scores of AZ-NAS",
    paper="AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search, arXiv:2403.19232",
    function=az_expressivity,
    shares=frozenset({"block_entropies"}),
)
