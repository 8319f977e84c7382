"""Whether a supernet ranks its architectures: the same from look to look, and as training alone does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from nasplat.data import evaluate
from nasplat.errors import NasplatError
from nasplat.space import Arch, Space
from nasplat.supernet.probes.look import Look


def kendall(values: Mapping[str, float], truth: Mapping[str, float]) -> float:
    """Kendall's tau-b between two tables of values by architecture key: 1 for one order, -1 for the reverse.

    Over the keys that both have: accuracies of two checkpoints, of two seeds, or inherited ones and those of training
    from scratch (arXiv:2001.01431). NaN where a table gives all the same value. NasplatError for fewer than two keys.
    """
    from scipy.stats import kendalltau  # scikit-learn brings it

    both = sorted(values.keys() & truth.keys())
    if len(both) < 2:
        raise NasplatError(
            f"a rank correlation needs two architectures in both tables; they share {len(both)} of "
            f"{len(values)} and {len(truth)}"
        )
    return float(kendalltau([values[k] for k in both], [truth[k] for k in both]).statistic)


def sampled(space: Space, n: int, seed: int) -> list[Arch]:
    """Up to `n` different random architectures, the same ones for the same seed; all of a space that has no more."""
    if space.size <= n:
        return list(space.enumerate())
    rng = np.random.default_rng(seed)
    draws = (space.sample(rng) for _ in range(100 * n))  # enough, unless conditions make some very rare
    return list(islice(dict.fromkeys(draws), n))


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Kendall's tau of inherited scores of a fixed sample of architectures, between one look and the last.

    "tau" (None at the first look, and of a single architecture) and "score", the task's metric of every architecture on
    the validation split: `kendall` compares those with other seeds and with training from scratch. A low tau late
    in a training says that its ranking is still noise. Cost: for each architecture a recalibration and a pass over the
    validation split.
    Source: "Deeper Insights into Weight Sharing in Neural Architecture Search" (arXiv:2001.01431).
    """

    architectures: int = 16
    unit: ClassVar[str] = "1"

    def __call__(self, at: Look, before: Mapping[str, Any] | None) -> Mapping[str, Any]:
        archs = sampled(at.space, self.architectures, at.seed)
        scores = {arch.key: self._score(at, arch) for arch in archs}
        tau = math.nan if before is None or len(scores) < 2 else kendall(scores, before["score"])
        return {"tau": None if math.isnan(tau) else tau, "score": scores}

    @staticmethod
    def _score(at: Look, arch: Arch) -> float:
        return evaluate(at.subnet(arch), at.data.validation, at.data.task, device=at.device)
