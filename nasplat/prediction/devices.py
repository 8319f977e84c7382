"""Known devices as a prior for a new one: its latency is near a combination of theirs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nasplat.errors import NasplatError, expected_one_of
from nasplat.prediction.blocks import Floats
from nasplat.prediction.costs import Costs

SPEED = 3.0
"""Prior standard deviation of the speed of a new device, which its samples tell anyway."""

NOISES = (0.02, 0.04, 0.08, 0.16, 0.32)
OWN = (0.003, 0.01, 0.03, 0.1)
SPREADS = (0.5, 1.0, 2.0)
"""What is tried for the relative noise, for costs of its own that a device has, and for how far devices differ."""

USUAL = (0.08, 0.01, 1.0)
"""The centre of the normal prior of the logarithms of these three, with standard deviation 1."""

DEGREES = 4.0
"""Degrees of freedom of the noise, a Student t: a sample in ten may be far off."""

Choice: TypeAlias = tuple[float, float, float]
"""Noise, own costs and spread."""


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The costs of known devices, and the scale of the columns: the root of their mean square norm.

    typical (d,): the median latency of each device, in its own unit.
    """

    costs: Mapping[str, Costs]
    typical: Floats
    scale: float

    def without(self, names: Collection[str]) -> Self:
        """The pool without some devices; NasplatError for one that it lacks."""
        for name in names:
            if name not in self.costs:
                raise NasplatError(f"the pool has no device {name!r}: {expected_one_of(name, self.costs)}")
        kept = [name not in names for name in self.costs]
        costs = {name: costs for name, costs in self.costs.items() if name not in names}
        return replace(self, costs=costs, typical=self.typical[kept])

    def relative(self, x: Floats) -> Floats:
        """Latencies of columns (n, p) on every device, over what is typical there, (d, n)."""
        each = np.array([costs.at(x) for costs in self.costs.values()])
        return np.asarray(each / self.typical[:, None])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The costs of all devices, stacked in their order; those of pairs only where there are any."""
        paired = any(costs.pairs.any() for costs in self.costs.values())
        fields = ("base", "blocks", "pairs", "least") if paired else ("base", "blocks", "least")
        stacked = {f: np.array([getattr(costs, f) for costs in self.costs.values()]) for f in fields}
        return stacked | {"typical": self.typical, "scale": np.array(self.scale)}

    @classmethod
    def of_arrays(cls, names: Collection[str], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """What `arrays` gave, for the names of the devices."""
        blocks = np.array(arrays["blocks"])
        pairs = np.array(arrays.get("pairs", np.zeros((len(blocks), *(blocks.shape[1:] * 2)))))
        costs = {
            name: Costs(float(arrays["base"][i]), blocks[i], pairs[i], float(arrays["least"][i]))
            for i, name in enumerate(names)
        }
        return cls(costs, np.array(arrays["typical"]), float(arrays["scale"]))

    def features(self, x: Floats) -> tuple[Floats, Floats]:
        """What a new device is linear in, (n, 1 + d + p), and the mean device (n,), by which it is divided.

        The mean device, how each known device differs from it, and the blocks. A weight of 1 on each is one prior
        standard deviation: SPEED for the first, and such for the differences that the known devices are as likely
        under the prior as they are many.
        """
        known = self.relative(x)
        mean = known.mean(0)
        differences = (known - mean) / np.sqrt(max(len(known) - 1, 1))
        speed = np.full((len(x), 1), SPEED)
        return np.c_[speed, (differences / mean).T, x / self.scale / mean[:, None]], mean


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """A new device: the posterior of the weights of `Pool.features`, its unit and its relative noise."""

    weights: Floats
    covariance: Floats
    unit: float
    noise: float

    def at(self, features: Floats, mean: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of latencies, noise included, (n,) each."""
        share = features @ self.weights
        variance = np.maximum(((features @ self.covariance) * features).sum(1), 0) + self.noise**2
        return self.unit * mean * np.maximum(share, 0.05), self.unit * mean * np.sqrt(variance)


def adapt(features: Floats, mean: Floats, y: Floats, devices: int) -> Adapted:
    """The posterior for latencies y (n,) of a few architectures, with their `Pool.features`.

    Bayesian linear regression of y / mean (Bishop 2006, section 3.3), its variances by evidence times their prior, then
    reweighted for noise that is Student t (Lange, Little and Taylor 1989).
    """
    unit = float(np.median(y / mean))
    t = y / mean / unit
    choice = max(
        product(NOISES, OWN, SPREADS), key=lambda c: _evidence(features * _scale(features, c, devices), t, c)
    )
    noise, scale = choice[0], _scale(features, choice, devices)
    phi, trust = features * scale, np.ones(len(t))
    for _ in range(6):
        gain = np.linalg.solve(phi @ phi.T + np.diag(noise**2 / trust), phi)
        weights = gain.T @ t
        trust = (DEGREES + 1) / (DEGREES + ((t - phi @ weights) / noise) ** 2)
    covariance = np.eye(len(weights)) - phi.T @ gain
    return Adapted(scale * weights, scale[:, None] * covariance * scale, unit, noise)


def spread_out(features: Floats, n: int, devices: int) -> list[int]:
    """n rows, each the one whose latency is least certain given those before it (greedy D-optimal design)."""
    phi = features * _scale(features, USUAL, devices)
    covariance, chosen = phi @ phi.T, list[int]()
    for _ in range(n):
        uncertain = np.diag(covariance).copy()
        uncertain[chosen] = -1.0
        chosen.append(int(uncertain.argmax()))
        seen = covariance[:, chosen[-1]]
        covariance = covariance - np.outer(seen, seen) / (seen[chosen[-1]] + USUAL[0] ** 2)
    return chosen


def _scale(features: Floats, choice: Choice, devices: int) -> Floats:
    """Prior standard deviations of the weights, (1 + d + p,)."""
    _, own, spread = choice
    own_costs = np.full(features.shape[1] - 1 - devices, own)
    return np.concatenate([np.ones(1), np.full(devices, spread), own_costs])


def _evidence(phi: Floats, t: Floats, choice: Choice) -> float:
    """Log evidence of t (n,) plus the log prior of the choice."""
    factor = np.linalg.cholesky(phi @ phi.T + choice[0] ** 2 * np.eye(len(t)))
    fit = np.linalg.solve(factor, t)
    away = np.log(choice) - np.log(USUAL)
    return float(-0.5 * fit @ fit - np.log(np.diag(factor)).sum() - 0.5 * away @ away)
