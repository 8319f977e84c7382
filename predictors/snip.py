"""snip: how much the loss changes when single weights are removed."""

from __future__ import annotations

from collections.abc import Mapping

from nasplat.scoring import Evidence, Score, total


def snip(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """Sum over convolution and linear weights of |w dL/dw|; per module the sums; L the mean cross entropy.

    |w dL/dw| is |dL/dm| of a mask m = 1 on each weight: equation 5 of "SNIP: Single-shot Network Pruning based on
    Connection Sensitivity" (arXiv:1810.02340), without its normalisation, as a score in arXiv:2101.08134.
    Higher is better. Training mode; 0 for layers without a path to the loss.
    """
    grads = evidence.weight_gradients
    return total({n: (w * grads[n]).abs().sum() for n, w in evidence.weights.items()})


SCORE: Score = Score(
    name="snip",
    direction="maximize",
    needs=frozenset({"data", "labels", "grad"}),
    cost="one forward and one backward pass",
    paper="SNIP: Single-shot Network Pruning based on Connection Sensitivity, arXiv:1810.02340",
    function=snip,
    shares=frozenset({"weight_gradients"}),
)
