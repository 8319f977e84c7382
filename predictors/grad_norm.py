"""grad_norm: how steep the loss is in the weights of the layers."""

from __future__ import annotations

from collections.abc import Mapping

from nasplat.scoring import Evidence, Score, total


def grad_norm(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """Sum over convolutions and linear layers of ||dL/dw||_2, not the norm of all; L the mean cross entropy.

    Per module the norms. A baseline of "Zero-Cost Proxies for Lightweight NAS" (arXiv:2101.08134). Higher is better.
    Training mode: batch norms use the batch. A layer without a path to the loss counts 0, and so does a dead network.
    """
    return total({name: grad.norm() for name, grad in evidence.weight_gradients.items()})


SCORE: Score = Score(
    name="grad_norm",
    direction="maximize",
    needs=frozenset({"data", "labels", "grad"}),
    cost="one forward and one backward pass",
    paper="Zero-Cost Proxies for Lightweight NAS, arXiv:2101.08134",
    function=grad_norm,
    shares=frozenset({"weight_gradients"}),
)
