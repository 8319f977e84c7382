"""What a neural predictor minimises: errors of values, or of the order of pairs.

A loss takes outputs of a network and standardised targets y (n,) of the same samples and gives a scalar. Outputs are
scores x (n,), or (n, 2) for `relation`; `scores_of` makes scores of both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LossName = Literal["mse", "logistic", "hinge", "relation", "diffkendall", "kendall"]

MARGIN = 0.1
"""Of the hinge, as in GATES (arXiv:2004.01899)."""

SHARPNESS = 5.0
"""a of the Kendall surrogate: the tanh of a standardised difference is close to its sign from 5 on."""


def mse(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared error."""
    return F.mse_loss(x, y)


def logistic(x: Tensor, y: Tensor) -> Tensor:
    """Mean over pairs with y_i != y_j of log(1 + exp(-(x_i - x_j) sign(y_i - y_j)))."""
    return _mean_over_ordered(F.softplus(-_differences(x) * _signs(y)), y)


def hinge(x: Tensor, y: Tensor) -> Tensor:
    """Mean over pairs with y_i != y_j of max(0, 0.1 - (x_i - x_j) sign(y_i - y_j)); GATES (arXiv:2004.01899)."""
    return _mean_over_ordered(F.relu(MARGIN - _differences(x) * _signs(y)), y)


def relation(x: Tensor, y: Tensor) -> Tensor:
    """Cross entropy of a pair classifier, mean over ordered pairs; BRP-NAS (arXiv:2007.08668).

    x (n, 2) holds what a sample adds to the log odds of a win as first and as second of a pair: a linear classifier on
    two concatenated embeddings is x_i0 + x_j1, its bias in either. Its target is the softmax of both y, which is
    sigmoid(y_i - y_j); the published divergence differs by a constant and sums where this averages.
    """
    odds = x[:, :1] + x[:, 1]
    loss = F.binary_cross_entropy_with_logits(odds, torch.sigmoid(_differences(y)), reduction="none")
    return _mean_over_pairs(loss)


def diffkendall(x: Tensor, y: Tensor, a: float = 0.5) -> Tensor:
    """-2 / (n (n - 1)) times the sum over ordered pairs of k(x_i - x_j) k(y_i - y_j); ParZC (arXiv:2402.02105).

    k(d) = sigmoid(a d) - sigmoid(-a d) = tanh(a d / 2). As published it reaches down to -2, because it sums ordered
    and counts unordered pairs, and for a = 0.5 it is closer to a covariance than to a rank correlation.
    """
    return -2 * _mean_over_pairs(_soft_signs(x, a) * _soft_signs(y, a))


def kendall(x: Tensor, y: Tensor, a: float = SHARPNESS) -> Tensor:
    """-1 times the mean over pairs of tanh(a (x_i - x_j) / 2) sign(y_i - y_j): diffkendall, corrected.

    It lies within [-1, 1] and tends to minus Kendall's tau (tau-a) as a grows, where no two x are equal.
    """
    return -_mean_over_pairs(_soft_signs(x, a) * _signs(y))


LOSSES: dict[LossName, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mse,
    "logistic": logistic,
    "hinge": hinge,
    "relation": relation,
    "diffkendall": diffkendall,
    "kendall": kendall,
}


def outputs(loss: LossName) -> int:
    """How many numbers per sample a network must give to a loss."""
    return 2 if loss == "relation" else 1


def scores_of(x: Tensor) -> Tensor:
    """Scores (n,) of outputs (n,) or, for `relation`, (n, 2).

    The pair classifier of `relation` is separable: the log odds of a win, averaged over both places in the pair, are
    (x_i0 - x_i1) / 2 plus what the opponent adds. That number ranks as mean log odds against any opponents
    do, hence transitively, where the published sort by comparisons depends on the order of its input.
    """
    return x if x.ndim == 1 else (x[:, 0] - x[:, 1]) / 2


def _differences(values: Tensor) -> Tensor:
    return values[:, None] - values


def _signs(y: Tensor) -> Tensor:
    return torch.sign(_differences(y))


def _soft_signs(values: Tensor, a: float) -> Tensor:
    return torch.tanh(a * _differences(values) / 2)


def _mean_over_pairs(table: Tensor) -> Tensor:
    """Mean of a table (n, n) off its diagonal; 0 for one sample."""
    n = len(table)
    return (table.sum() - table.diagonal().sum()) / max(n * (n - 1), 1)


def _mean_over_ordered(table: Tensor, y: Tensor) -> Tensor:
    """Mean of a table (n, n) over the pairs whose targets differ; 0 where none do."""
    differ = _signs(y) != 0
    return (table * differ).sum() / differ.sum().clamp(min=1)
