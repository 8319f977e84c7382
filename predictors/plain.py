"""plain: what the first order of the loss says about removing the weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nasplat.scoring import Evidence, Score, total


def plain(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """Sum over convolution and linear weights of w dL/dw, with its sign; L the mean cross entropy.

    Per module the sums. Mozer and Smolensky's saliency ("Skeletonization", 1988), as a score in "Zero-Cost Proxies for
    Lightweight NAS" (arXiv:2101.08134) and without its absolute value there. Its correlation with accuracy is negative
    in published tables, so that lower is better. Training mode; 0 for layers without a path to the loss.
    """
    grads = evidence.weight_gradients
    return total({n: (w * grads[n]).sum(dtype=torch.float64) for n, w in evidence.weights.items()})


SCORE: Score = Score(
    name="plain",
    direction="minimize",
    needs=frozenset({"data", "labels", "grad"}),
    cost="one forward and one backward pass",
    paper="Zero-Cost Proxies for Lightweight NAS, arXiv:2101.08134",
    function=plain,
    shares=frozenset({"weight_gradients"}),
)
