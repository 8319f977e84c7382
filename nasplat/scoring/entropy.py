"""How evenly the variance of a map spreads over directions of its channel space."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nasplat.scoring.reasons import Undefined


def component_entropies(maps: dict[str, Tensor]) -> dict[str, float]:
    """Of each map the entropy of its principal components. Raises Undefined for a map that is constant."""
    return {name: component_entropy(name, features) for name, features in maps.items()}


def component_entropy(name: str, features: Tensor) -> float:
    """- sum p log(p + 1e-8), p the shares of the eigenvalues of the covariance of a map's channels; at most log c.

    features (n, c, h, w): n * h * w points of c channels. AZ-NAS (arXiv:2403.19232). Rounding makes
    eigenvalues of zero slightly negative: they count as zero. `name` says whose map it is, for the reason.
    """
    points = features.detach().transpose(0, 1).flatten(1)  # (c, n * h * w)
    means = points.mean(1, keepdim=True)
    points = points - means
    covariance = (points @ points.T).double() / points.shape[1]
    variance, power = float(covariance.trace()), float(means.double().square().sum())
    if not 1e-10 * power < variance < math.inf:  # rounding makes it about 1e-14
        raise Undefined(f"the output of {name} has a variance of {variance:.3g}")
    values = torch.linalg.eigvalsh(covariance).clamp(min=0)
    shares = values / values.sum()
    return -float((shares * (shares + 1e-8).log()).sum())
