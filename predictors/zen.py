"""zen: how strongly the last maps of a network with Gaussian weights answer to a small change of the image."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nasplat.scoring import Evidence, NotApplicable, Score, Undefined, initialise, trace_body

STEP = 0.01
"""The size of the change, alpha in the paper."""

BatchNorm = nn.modules.batchnorm._BatchNorm


def zen(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """log D + sum over batch norms of log sqrt(mean running variance), D the mean of |F(x) - F(x + 0.01 e)|_1.

    F: the network from images to its last maps, before pooling. Its weights, x and e are standard normal, biases 0,
    norms 1 and 0; images (n, c, h, w) give their shape only. "Zen-NAS" (arXiv:2102.01063), one draw.
    Running variances begin at 1 and are read after both passes, as in the authors' code: with the usual momentum, 0.81
    and 0.09 and 0.1 times both batches' variances. Higher is better. Per module: each batch norm's term; "" is
    log D. Without batch norms log D alone counts, in double precision, as nothing keeps the signal in range.
    A dead network, whose last maps do not depend on the image, has D = 0: Undefined, to be ranked last.
    """
    if not evidence.images.is_floating_point():
        raise NotApplicable(f"inputs of type {evidence.images.dtype} cannot be changed a little")
    body = trace_body(evidence.copy(), evidence.images)
    network = body.until([body.segments[-1].nodes[-1]])
    initialise(network, nn.init.normal_)
    norms = _tracking_norms(network)
    example: Tensor = evidence.images if norms else evidence.images.double()
    network.to(example)
    x, e = torch.randn_like(example), torch.randn_like(example)
    with torch.no_grad():
        (still,), (moved,) = network(x), network(x + STEP * e)
    distance = float((still - moved).abs().flatten(1).sum(1).mean())
    if not 0 < distance < math.inf:
        raise Undefined(f"the last maps change by {distance}: dead, or beyond the precision")
    parts = {name: _log_scale(name, norm) for name, norm in norms.items()}
    parts[""] = math.log(distance)
    return sum(parts.values()), parts


def _tracking_norms(network: nn.Module) -> dict[str, BatchNorm]:
    """The batch norms by name, all of which track their statistics from now on."""
    norms = {name: m for name, m in network.named_modules() if isinstance(m, BatchNorm)}
    for norm in norms.values():
        if norm.running_var is None:
            norm.track_running_stats = True
            norm.running_mean = torch.zeros(norm.num_features)
            norm.running_var = torch.ones(norm.num_features)
    return norms


def _log_scale(name: str, norm: BatchNorm) -> float:
    assert norm.running_var is not None
    scale = float(norm.running_var.mean())
    if not 0 < scale < math.inf:
        raise Undefined(f"the running variance of {name} is {scale}")
    return math.log(scale) / 2


SCORE: Score = Score(
    name="zen",
    direction="maximize",
    needs=frozenset({"data"}),
    cost="two forward passes",
    paper="Zen-NAS: A Zero-Shot NAS for High-Performance Deep Image Recognition, arXiv:2102.01063",
    function=zen,
)
