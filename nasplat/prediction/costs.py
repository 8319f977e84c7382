"""Latency as a sum over blocks: a base, a cost for each block and, where they pay, costs of pairs of blocks.

Noise of a latency is taken as proportional to it. Both fits are ridge regressions, which are means of Gaussian
processes (Rasmussen and Williams 2006, section 2.1): blocks have the kernel z.z', pairs q (z.z')^2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from nasplat.prediction.blocks import Floats

BASE = 100.0
"""Prior variance of the base, in squared medians of the latencies; blocks together have 1, their pairs q."""

LEAST = 0.1
"""A prediction never falls below this part of the median latency."""

NOISES = tuple(10.0 ** (k / 2) for k in range(-12, 3))
"""What is tried for the variance of the relative noise, as a multiple of the variance of the blocks."""

MAD = 1.4826
"""The standard deviation of normal noise over its median absolute deviation."""

LADDER, ROUNDS = (0.5, 0.35, 0.25, 0.18, 0.13, 0.1, 0.08, 0.065, 0.05), 4
"""Widths of a bounded loss, from one that is nearly squares, and the steps at each, to end in a good minimum."""


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """latency = base + x.blocks + x' pairs x for columns x (p,), at least `least`. blocks (p,), pairs (p, p)."""

    base: float
    blocks: Floats
    pairs: Floats
    least: float

    def at(self, x: Floats) -> Floats:
        """Latencies (n,) of columns (n, p)."""
        extra = ((x @ self.pairs) * x).sum(1) if self.pairs.any() else 0.0
        return np.asarray(np.maximum(self.base + x @ self.blocks + extra, self.least))


@dataclass(frozen=True, slots=True)
class Prior:
    """q, the variance of pairs of blocks beside that of blocks, and the variance of the relative noise."""

    pairs: float
    noise: float


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What there is to learn from: columns z (n, p), scaled to a mean square norm of 1, and latencies t (n,), to a
    median of 1."""

    z: Floats
    t: Floats
    scale: float
    unit: float

    @classmethod
    def of(cls, x: Floats, y: Floats) -> Self:
        """From columns (n, p) and latencies (n,)."""
        scale, unit = float(np.sqrt((x**2).sum(1).mean())) or 1.0, float(np.median(y))
        return cls(x / scale, y / unit, scale, unit)

    def solve(self, prior: Prior, variance: Floats) -> Costs:
        """The costs of greatest probability, for noise of this variance (n,)."""
        if prior.pairs:
            a = np.linalg.solve(self.kernel(prior.pairs) + np.diag(variance), self.t)
            return self._costs(BASE * a.sum(), self.z.T @ a, prior.pairs * (self.z.T * a) @ self.z)
        phi = np.c_[np.full(len(self.t), BASE**0.5), self.z]
        weighted = phi.T / variance
        w = np.linalg.solve(weighted @ phi + np.eye(phi.shape[1]), weighted @ self.t)
        return self._costs(BASE**0.5 * w[0], w[1:], np.zeros((self.z.shape[1],) * 2))

    def kernel(self, pairs: float) -> Floats:
        """(n, n)."""
        gram = self.z @ self.z.T
        return np.asarray(BASE + gram + pairs * gram**2)

    def guess(self, costs: Costs) -> Floats:
        """Predictions in medians, (n,)."""
        return costs.at(self.z * self.scale) / self.unit

    def errors(self, costs: Costs) -> Floats:
        """Logarithms of latencies over predictions, (n,)."""
        return np.asarray(np.log(self.t / self.guess(costs)))

    def _costs(self, base: float, blocks: Floats, pairs: Floats) -> Costs:
        """In the units that came: milliseconds for columns as they were given."""
        unit, scale = self.unit, self.scale
        return Costs(float(base) * unit, blocks * unit / scale, pairs * unit / scale**2, LEAST * unit)


def squares(lesson: Lesson, prior: Prior) -> Costs:
    """Least squares of relative errors: the noise is a share of the prediction, so three rounds find both."""
    guess = lesson.t
    for _ in range(3):
        costs = lesson.solve(prior, prior.noise * guess**2)
        guess = lesson.guess(costs)
    return costs


def bounded(lesson: Lesson, prior: Prior, width: float) -> Costs:
    """The fit under the loss 1 - exp(-e^2 / 2 h^2) of errors e of the logarithm, h falling to `width`.

    What is far off counts no more than what is just off, so that the costs follow the most frequent latencies and
    not slow periods of a device. Each step is a weighted fit with weights exp(-e^2 / 2 h^2).
    """
    costs = squares(lesson, prior)
    whole = float((lesson.errors(costs) ** 2).mean()) or 1.0
    for h in (*(step for step in LADDER if step > width), width):
        for _ in range(ROUNDS):
            errors = lesson.errors(costs)
            core = min(
                1.0, (MAD * float(np.median(np.abs(errors)))) ** 2 / whole
            )  # the noise without what is far off
            weight = np.exp(-0.5 * (errors / h) ** 2) + 1e-4
            variance = max(prior.noise * core, NOISES[0]) * lesson.guess(costs) ** 2
            costs = lesson.solve(prior, variance / weight)
    return costs


def learned_prior(lesson: Lesson, pairs: Iterable[float]) -> Prior:
    """Of these q and of NOISES, the prior of greatest evidence (Rasmussen and Williams 2006, equation 5.8)."""
    guess = lesson.guess(squares(lesson, Prior(0.0, 0.01)))
    t, best = lesson.t / guess, (-np.inf, Prior(0.0, 0.01))
    for q in pairs:
        if q:
            spectrum, u = np.linalg.eigh(lesson.kernel(q) / np.outer(guess, guess))
        else:  # the same matrix has rank p + 1
            phi = np.c_[np.full(len(t), BASE**0.5), lesson.z] / guess[:, None]
            u, roots, _ = np.linalg.svd(phi, full_matrices=False)
            spectrum = roots**2
        best = max(
            best, *(_evidence(spectrum, u.T @ t, t, Prior(q, noise)) for noise in NOISES), key=lambda e: e[0]
        )
    return best[1]


def _evidence(spectrum: Floats, along: Floats, t: Floats, prior: Prior) -> tuple[float, Prior]:
    """Log evidence of t (n,), with the variance of all maximised out; `along` are its parts along the spectrum."""
    n, rest = len(t), max(float(t @ t - along @ along), 0.0)
    variances = np.maximum(spectrum, 0) + prior.noise
    variance = (float((along**2 / variances).sum()) + rest / prior.noise) / n
    volume = float(np.log(variances).sum()) + (n - len(variances)) * float(np.log(prior.noise))
    return -0.5 * (n * float(np.log(variance)) + volume), prior


def best_centre(ratios: Floats, tolerance: float, slack: float = 0.005) -> tuple[float, float]:
    """The factor on predictions that brings the most of them within the tolerance, and the share that it reaches.

    ratios (n,): predictions over latencies. Where noise has two modes, a prediction between them is within the
    tolerance of both. Of the factors within `slack` of the best share the one closest to 1 is taken.
    """
    factors = np.exp(np.linspace(-2 * tolerance, 2 * tolerance, 161))
    shares = np.array([within(factor * ratios, tolerance) for factor in factors])
    smooth = np.convolve(np.pad(shares, 4, "edge"), np.full(9, 1 / 9), "valid")
    good = np.flatnonzero(smooth >= smooth.max() - slack)
    chosen = good[np.abs(np.log(factors[good])).argmin()]
    return float(factors[chosen]), float(shares[chosen])


def within(ratios: Floats, tolerance: float) -> float:
    """The share of predictions over latencies (n,) whose relative error is at most the tolerance."""
    return float((np.abs(ratios - 1) <= tolerance).mean())
