"""What a mean and a standard deviation make worth trying."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
AcquisitionName: TypeAlias = Literal["thompson", "ucb", "ei"]

BETA = 0.5
"""Deviations above the mean in `ucb`, as in BANANAS (arXiv:1910.11858, section 4)."""


def thompson(mean: Floats, std: Floats, best: float, rng: np.random.Generator) -> Floats:
    """Independent Thompson sampling: one draw from N(mean, std) for each, the acquisition of BANANAS."""
    return rng.normal(mean, std)


def ucb(mean: Floats, std: Floats, best: float, rng: np.random.Generator) -> Floats:
    """Upper confidence bound: mean + BETA std."""
    return mean + BETA * std


def ei(mean: Floats, std: Floats, best: float, rng: np.random.Generator) -> Floats:
    """Expected improvement over the best value, (m - b) Phi(u) + s phi(u) with u = (m - b) / s (Jones et al., 1998)."""
    from scipy.special import ndtr  # here: who only lists samplers needs no SciPy

    gain = mean - best
    u = np.divide(gain, std, out=np.where(gain > 0, np.inf, -np.inf), where=std > 0)
    density = np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi)
    return np.asarray(np.where(std > 0, gain * ndtr(u) + std * density, np.maximum(gain, 0.0)))


ACQUISITIONS: dict[str, Callable[[Floats, Floats, float, np.random.Generator], Floats]] = {
    "thompson": thompson,
    "ucb": ucb,
    "ei": ei,
}
"""mean (n,), std (n,), the best value so far and a generator -> how much each is worth trying, (n,); more is better."""
