"""fisher: how much the loss changes when channels are removed."""

from __future__ import annotations

from collections.abc import Mapping

from nasplat.scoring import Evidence, Score, total


def fisher(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """Sum over layers and channels c of d_c times the weights of the channel; per module the sums.

    d_c = 1/2 mean over images of s_c^2, s_c the image's derivative of the mean cross entropy by a gate on channel c of
    the layer's output before any norm: the saliency of "Faster gaze prediction with dense networks and Fisher pruning"
    (arXiv:1801.05787), as a score in arXiv:2101.08134, which counts d_c once for each weight of the channel. Higher
    is better. Training mode. A layer called several times has one gate; one that is never called, 0.
    """
    weights = evidence.weights
    return total(
        {
            name: 0.5 * gates.square().mean(0).sum() * weights[name][0].numel()
            for name, gates in evidence.gate_gradients.items()
        }
    )


SCORE: Score = Score(
    name="fisher",
    direction="maximize",
    needs=frozenset({"data", "labels", "grad"}),
    cost="one forward and one backward pass",
    paper="Faster gaze prediction with dense networks and Fisher pruning, arXiv:1801.05787",
    function=fisher,
    shares=frozenset({"gate_gradients"}),
)
