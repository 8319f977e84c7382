"""Gaussian process regression on blocks of columns, with a length scale for each block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

Table: TypeAlias = NDArray[np.float64]
Blocks: TypeAlias = Mapping[str, Table]
"""Columns (n, c) of n samples by the name of their block."""

Terms: TypeAlias = Sequence[Sequence[str]]
"""Kernels to be summed, each the product of the kernels of these blocks."""

TUNED_ON, STEPS, JITTER = 200, 60, 1e-6
DOUBT = 1.5, 1.0
"""Deviations of the normal priors around where tuning starts: of log variances, of log lengths and log noise."""


@dataclass(frozen=True, slots=True, eq=False)
class GaussianProcess:
    """k(x, x') = sum over terms of v product over its blocks of (1 + r) exp(-r), r = sqrt(3) |x_b - x'_b| / l_b.

    Matern kernels with nu = 3/2 ("Gaussian Processes for Machine Learning", Rasmussen and Williams 2006, equation
    4.17), with noise of variance s on the diagonal. logs: log v and the log l of each term in order, then log s.
    known: the blocks that were learned from. weights (n,): (K + s I)^-1 y. factor: the Cholesky factor of K + s I.
    """

    terms: Terms
    logs: Table
    known: Blocks
    weights: Table
    factor: Table

    @classmethod
    def fit(cls, terms: Terms, blocks: Blocks, y: Table, seed: int = 0) -> Self:
        """Learn from standardised numbers y (n,); variances, lengths and noise maximise their posterior.

        They are tuned on at most TUNED_ON samples, drawn by the seed: more change them little, and cost n^3 a step.
        """
        some = np.random.default_rng(seed).permutation(len(y))[:TUNED_ON]
        logs = _tuned(terms, {name: table[some] for name, table in blocks.items()}, y[some])
        return cls._solved(terms, logs, blocks, y)

    @classmethod
    def _solved(cls, terms: Terms, logs: Table, blocks: Blocks, y: Table) -> Self:
        from scipy.linalg import cho_solve

        kernel, _ = _kernel(terms, logs, _distances(blocks, blocks))
        factor = np.asarray(np.linalg.cholesky(kernel + _noise(logs) * np.eye(len(y))), np.float64)
        return cls(terms, logs, dict(blocks), np.asarray(cho_solve((factor, True), y)), factor)

    def predict(self, blocks: Blocks) -> tuple[Table, Table]:
        """Posterior mean and standard deviation (n,) of the function, without noise (equations 2.25 and 2.26)."""
        from scipy.linalg import solve_triangular

        between, _ = _kernel(self.terms, self.logs, _distances(blocks, self.known))
        half = solve_triangular(self.factor, between.T, lower=True)
        prior = sum(np.exp(self.logs[place]) for place in _variances(self.terms))
        variance = prior - (half * half).sum(0)
        return between @ self.weights, np.sqrt(np.maximum(variance, 0.0))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that was learned, by name."""
        own = {"logs": self.logs, "weights": self.weights, "factor": self.factor}
        return own | {f"known.{name}": table for name, table in self.known.items()}

    @classmethod
    def in_arrays(cls, terms: Terms, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The process that `arrays` gave."""
        known = {n.removeprefix("known."): table for n, table in arrays.items() if n.startswith("known.")}
        return cls(terms, arrays["logs"], known, arrays["weights"], arrays["factor"])


def _noise(logs: Table) -> float:
    return float(np.exp(logs[-1])) + JITTER


def _variances(terms: Terms) -> list[int]:
    """The places of the log variances among the logs."""
    return [sum(1 + len(term) for term in terms[:i]) for i in range(len(terms))]


def _distances(a: Blocks, b: Blocks) -> dict[str, Table]:
    """Squared distances (n, m) between the rows of each block."""
    found = {}
    for name, there in b.items():
        here = a[name]
        squares = (here**2).sum(1)[:, None] + (there**2).sum(1) - 2 * here @ there.T
        found[name] = np.maximum(squares, 0.0)
    return found


def _kernel(terms: Terms, logs: Table, distances: Mapping[str, Table]) -> tuple[Table, list[Table]]:
    """K, and its derivatives by the logs in their order, the noise left out."""
    slopes: list[Table] = []
    total = np.zeros_like(next(iter(distances.values())))
    for place, term in zip(_variances(terms), terms, strict=True):
        product, parts = np.full_like(total, np.exp(logs[place])), []
        for offset, block in enumerate(term, start=1):
            squared = 3 * distances[block] * np.exp(-2 * logs[place + offset])
            r = np.sqrt(squared)
            product *= (1 + r) * np.exp(-r)
            parts.append(squared / (1 + r))  # d log((1 + r) exp(-r)) / d log l = r^2 / (1 + r)
        total += product
        slopes += [product, *(product * part for part in parts)]
    return total, slopes


def _tuned(terms: Terms, blocks: Blocks, y: Table) -> Table:
    """The logs of largest posterior: marginal likelihood (equation 2.30) times normal priors around the start."""
    from scipy.optimize import minimize

    distances = _distances(blocks, blocks)
    start, doubt = _start(terms, distances)

    def loss(logs: Table) -> tuple[float, Table]:
        value, slope = _misfit(terms, logs, distances, y)
        away = (logs - start) / doubt
        return value + 0.5 * float(away @ away), slope + away / doubt

    bounds = [(log - 5, log + 5) for log in start]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS})
    return np.asarray(found.x, np.float64)


def _start(terms: Terms, distances: Mapping[str, Table]) -> tuple[Table, Table]:
    """Equal shares of a variance of 1, median distances as lengths, a tenth of noise; and how doubtful each is."""
    logs, doubt = [], []
    for term in terms:
        logs += [
            -np.log(len(terms)),
            *(_median_length(distances[block]) + 0.5 * np.log(len(term)) for block in term),
        ]
        doubt += [DOUBT[0], *[DOUBT[1]] * len(term)]
    return np.array([*logs, np.log(0.1)]), np.array([*doubt, DOUBT[1]])


def _median_length(squares: Table) -> float:
    middle = float(np.median(squares[np.triu_indices(len(squares), 1)]))
    return 0.5 * float(np.log(middle if middle > 1e-9 else 1.0))


def _misfit(terms: Terms, logs: Table, distances: Mapping[str, Table], y: Table) -> tuple[float, Table]:
    """Minus the log marginal likelihood but for a constant, and its slope by the logs."""
    from scipy.linalg import cho_solve

    kernel, slopes = _kernel(terms, logs, distances)
    factor = np.linalg.cholesky(kernel + _noise(logs) * np.eye(len(y)))
    inverse = cho_solve((factor, True), np.eye(len(y)))
    weights = inverse @ y
    value = 0.5 * float(y @ weights) + float(np.log(np.diag(factor)).sum())
    pull = inverse - np.outer(weights, weights)
    noise = np.exp(logs[-1]) * np.trace(pull)
    return value, 0.5 * np.array([*((pull * slope).sum() for slope in slopes), noise])
