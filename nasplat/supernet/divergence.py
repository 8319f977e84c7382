"""How far a student's distribution is from its teacher's: alpha-divergences with a gradient that stays bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class AlphaDivergence:
    """D_a(p || q) = sum q (r^a - 1) / (a (a - 1)) with r = p / q, p the teacher's, q the student's probabilities.

    a -> 1 is KL(p || q), large where a student misses what the teacher holds possible; a -> 0 is KL(q || p); with
    negative a it is large where a student holds possible what the teacher does not (AlphaNet, arXiv:2102.07954).
    r^a is cut off at `clip`, which bounds value and gradient; for a = 0 and a = 1, which need no bound, it is not.
    """

    alpha: float
    clip: float = math.inf

    def __call__(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, classes, ...) -> the divergence and its surrogate, (n, ...) each, in single precision at least.

        The surrogate -sum q w log q, in which only log q has a gradient, has the gradient of the divergence wherever
        nothing is cut off: w = r^a / a + 1 / (a (a - 1)), or r for a = 1 and log r - 1 for a = 0.
        """
        log_q = F.log_softmax(student.to(torch.promote_types(student.dtype, torch.float32)), dim=1)
        with torch.no_grad():
            log_p = F.log_softmax(teacher.to(log_q.dtype), dim=1)
            divergence, weight = self._terms(log_p, log_q)
        return divergence.sum(dim=1), -(weight * log_q).sum(dim=1)

    def _terms(self, log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
        """The terms of the divergence, and q w; by logarithms, because ratios overflow."""
        a, log_r, q = self.alpha, log_p - log_q, log_q.exp()
        if a == 0:
            return -q * log_r, q * (log_r - 1)
        if a == 1:
            return log_p.exp() * log_r, log_p.exp()
        power = (a * log_r).exp().clamp(max=self.clip)
        return q * (power - 1) / (a * (a - 1)), q * (power / a + 1 / (a * (a - 1)))
