"""macs: how many multiply-adds one image takes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException

from nasplat.measure import count_macs
from nasplat.scoring import Evidence, NotApplicable, Score, Weighted, weighted_layers


def macs(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """Multiply-adds of one image, as count_macs counts them. A baseline as plain as params; higher is better.

    Per module: those of each convolution and linear layer, over all of its calls; products elsewhere, as in
    attention, count in the value only. Nothing is computed but shapes; of the images only theirs counts.
    """
    model = evidence.copy()
    parts: dict[str, float] = {}
    for name, layer in weighted_layers(model).items():
        parts[name] = 0.0
        layer.register_forward_hook(partial(_count, parts, name))
    try:
        return float(count_macs(model, evidence.images)), parts
    except DataDependentOutputException as error:
        raise NotApplicable(
            "the network branches on values: what it computes is not decided by shapes"
        ) from error


def _count(parts: dict[str, float], name: str, layer: Weighted, inputs: Any, output: Tensor) -> None:
    parts[name] += output.numel() * layer.weight[0].numel()  # one product with this row of weights each


SCORE: Score = Score(
    name="macs",
    direction="maximize",
    needs=frozenset(),
    cost="one forward pass of shapes",
    paper="Zero-Cost Proxies for Lightweight NAS, arXiv:2101.08134",
    function=macs,
)
