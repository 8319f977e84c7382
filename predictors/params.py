"""params: how many parameters a network has."""

from __future__ import annotations

from collections.abc import Mapping

from nasplat.measure import count_params
from nasplat.scoring import Evidence, Score


def params(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """Trainable parameters, each once. The baseline of every other score; higher is better.

    Per module: weights and biases of each convolution and linear layer; those of norms count in the value only.
    """
    parts = {
        name: float(sum(p.numel() for p in layer.parameters(recurse=False) if p.requires_grad))
        for name, layer in evidence.layers.items()
    }
    return float(count_params(evidence.model)), parts


SCORE: Score = Score(
    name="params",
    direction="maximize",
    needs=frozenset(),
    cost="none",
    paper="Zero-Cost Proxies for Lightweight NAS, arXiv:2101.08134",
    function=params,
)
