"""nwot: how differently the ReLUs of an untrained network answer to different images."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nasplat.scoring import Evidence, NotApplicable, Score, Undefined


def nwot(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """log|K|, K_ij the number of ReLU units on which images i and j agree (both active or both not).

    K = sum over ReLUs of b b^T + (1 - b)(1 - b)^T, b (n, units) the signs of the ReLU's input. "Neural Architecture
    Search without Training" (arXiv:2006.04647, equation 2). Higher is better. Labels are not used.
    Training mode: batch norms use the batch. Every ReLU that runs counts once per call, whether a layer or a
    functional call, and so do ReLU6, leaky and parametric ones, as in the authors' code.
    Counts are exact. Per module: tr(K^-1 K_l), the change of log|K| per relative change of this ReLU's own
    kernel K_l; these sum to n. Undefined when K is singular: equal images, or fewer patterns than images.
    """
    kernels = evidence.relu_kernels
    if not kernels:
        raise NotApplicable("the network has no ReLU")
    kernel = torch.stack(list(kernels.values())).sum(dim=0)
    values, vectors = torch.linalg.eigh(kernel)
    if values[0] <= len(kernel) * torch.finfo(values.dtype).eps * values[-1]:
        raise Undefined(_singularity(kernel))
    inverse = (vectors / values) @ vectors.T
    return float(values.log().sum()), {name: float((inverse * k).sum()) for name, k in kernels.items()}


def _singularity(kernel: Tensor) -> str:
    """Why the determinant is zero: the first two images with equal patterns, else too few units."""
    same = (kernel == kernel.diagonal()[:, None]).triu(1).nonzero()
    if len(same):
        first, second = same[0].tolist()
        return f"the kernel is singular: images {first} and {second} have the same ReLU pattern"
    rank = int(torch.linalg.matrix_rank(kernel, hermitian=True))
    return f"the kernel is singular: {len(kernel)} images, but its rank is {rank}"


SCORE: Score = Score(
    name="nwot",
    direction="maximize",
    needs=frozenset({"data"}),
    cost="one forward pass",
    paper="Neural Architecture Search without Training, arXiv:2006.04647",
    function=nwot,
    shares=frozenset({"relu_kernels"}),
)
