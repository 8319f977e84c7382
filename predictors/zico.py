"""zico: how large the gradients of an untrained network are against their spread over batches."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from nasplat.scoring import (
    Evidence,
    NotApplicable,
    Score,
    Undefined,
    classifier_loss,
    gradients,
    weighted_layers,
)


def zico(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """Sum over layers of log(sum over weights of mean|g| / std(g)), g the loss gradients of two batches.

    "ZiCo" (arXiv:2301.11300): the batches are the two halves of images (n, ...), labels (n,), mean and
    population standard deviation go over them, and weights whose gradient is the same in both count nothing.
    Higher is better. Per module: each layer's logarithm; 0 for a layer without such weights, which adds nothing.
    NotApplicable to fewer than two images. Undefined where no gradient varies, as in a dead network.
    """
    if len(evidence.images) < 2:
        raise NotApplicable("two batches need two images")
    model = evidence.copy().requires_grad_()
    layers = weighted_layers(model)
    halves = zip(evidence.images.chunk(2), evidence.labels.chunk(2), strict=True)
    with parametrize.cached():  # so that a parametrized weight is one tensor
        weights: list[Tensor] = [layer.weight for layer in layers.values()]
        grads = [gradients(classifier_loss(model(x.clone()), y), weights) for x, y in halves]
    sums = [_signal(torch.stack(pair).double()) for pair in zip(*grads, strict=True)]
    if not any(sums):
        raise Undefined("no weight's gradient varies between the two batches")
    parts = {name: math.log(total) if total else 0.0 for name, total in zip(layers, sums, strict=True)}
    return sum(parts.values()), parts


def _signal(grads: Tensor) -> float:
    """Sum over weights of mean|g| / std(g), grads (batches, ...), where the deviation is above zero."""
    means, deviations = grads.abs().mean(0), grads.std(0, correction=0)
    varies = deviations > 0
    return float((means[varies] / deviations[varies]).sum())


SCORE: Score = Score(
    name="zico",
    direction="maximize",
    needs=frozenset({"data", "labels", "grad"}),
    cost="a forward and a backward pass of each half of the batch",
    paper="ZiCo: Zero-shot NAS via Inverse Coefficient of Variation on Gradients, arXiv:2301.11300",
    function=zico,
)
