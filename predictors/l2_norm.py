"""l2_norm: how long the weights of the layers are."""

from __future__ import annotations

from collections.abc import Mapping

from nasplat.scoring import Evidence, Score, total


def l2_norm(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """Sum over convolutions and linear layers of ||w||_2; per module the norms. Higher is better.

    A baseline: at usual initialisations it grows with the root of the number of weights, whatever they compute.
    """
    return total({name: w.norm() for name, w in evidence.weights.items()})


SCORE: Score = Score(
    name="l2_norm",
    direction="maximize",
    needs=frozenset(),
    cost="none",
    paper="Zero-Cost Proxies for Lightweight NAS, arXiv:2101.08134",
    function=l2_norm,
)
