"""ntk: how evenly an untrained network can learn, by the condition of its neural tangent kernel."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nasplat.scoring import Evidence, NotApplicable, Score, Undefined, gradients, network_outputs

IMAGES = 16


def ntk(evidence: Evidence, images: int = IMAGES) -> tuple[float, Mapping[str, float]]:
    """lambda_max / lambda_min of K = G G^T, row i of G the gradient of the sum of image i's logits. Lower is better.

    The gradient is that with respect to all parameters with "weight" in their names, those of norms included, in
    training mode: the images are one batch of the batch norms. TE-NAS (arXiv:2102.11535), which
    takes 64 images. Here `images` of the batch count, the first ones: n of them cost n passes back through all n.
    Labels are not used. K is summed in double precision.
    Per module: the change of log kappa per relative change of this module's own part K_l of the kernel, v^T K_l v /
    lambda for the largest minus the same for the smallest eigenvalue; these sum to 0.
    Undefined when K is singular to single precision: equal images, dead networks, fewer weights than images.
    """
    model = evidence.copy().requires_grad_()
    kernels = tangent_kernels(model, evidence.images[:images])
    if not kernels:
        raise NotApplicable("the network has no weights")
    kernel = torch.stack(list(kernels.values())).sum(0)
    values, vectors = torch.linalg.eigh(kernel)
    if values[0] <= len(values) * torch.finfo(torch.float32).eps * values[-1]:
        raise Undefined(
            f"the kernel is singular: its eigenvalues go from {values[0]:.3g} to {values[-1]:.3g}"
        )
    shares = {name: (vectors * (part @ vectors)).sum(0) / values for name, part in kernels.items()}
    return float(values[-1] / values[0]), {name: float(s[-1] - s[0]) for name, s in shares.items()}


def tangent_kernels(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Products (n, n) of the gradients of n images, for the weights of each module; double precision, on the CPU."""
    weights = {name: p for name, p in model.named_parameters() if "weight" in name}
    logits = network_outputs(model(images.clone()))
    if not logits.ndim or len(logits) != len(images):
        raise NotApplicable(
            f"outputs {tuple(logits.shape)} of {len(images)} images: the first axis is not the batch"
        )
    totals = logits.flatten(1).sum(1)
    rows = [gradients(total, list(weights.values()), retain_graph=True) for total in totals]
    kernels: dict[str, Tensor] = {}
    for name, grads in zip(weights, zip(*rows, strict=True), strict=True):
        matrix = torch.stack(grads).flatten(1).double()
        module = name.rpartition(".")[0]
        kernels[module] = kernels.get(module, torch.zeros(())) + (matrix @ matrix.T).cpu()
    return kernels


SCORE: Score = Score(
    name="ntk",
    direction="minimize",
    needs=frozenset({"data", "grad"}),
    cost="one forward pass of 16 images, and 16 backward passes",
    paper="Neural Architecture Search on ImageNet in Four GPU Hours, arXiv:2102.11535",
    function=ntk,
)
