"""grasp: how removing weights would change the flow of gradients."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nasplat.scoring import Evidence, Score, total


def grasp(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """Sum over convolution and linear weights of -w (H g); g gradient, H Hessian of the mean cross entropy L.

    Per module the sums. Equation 8 of "Picking Winning Tickets Before Training by Preserving Gradient Flow"
    (arXiv:2002.07376) at temperature 1, with the sign of arXiv:2101.08134. Higher is better.
    H is that of all these weights together, exact by a second backward pass, which every operator must have.
    Training mode; 0 for layers without a path to the loss.
    """
    curved = evidence.hessian_gradients
    return total({n: -(w * curved[n]).sum(dtype=torch.float64) for n, w in evidence.weights.items()})


SCORE: Score = Score(
    name="grasp",
    direction="maximize",
    needs=frozenset({"data", "labels", "grad", "double_backward"}),
    cost="one forward, one backward and one backward pass of the backward pass",
    paper="Picking Winning Tickets Before Training by Preserving Gradient Flow, arXiv:2002.07376",
    function=grasp,
    shares=frozenset({"hessian_gradients"}),
)
