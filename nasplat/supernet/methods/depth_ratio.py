"""The full network and shallow ones in turn, in a ratio that changes while they learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from nasplat.data import Dataset
from nasplat.errors import TrainingError
from nasplat.space import Arch, Space
from nasplat.supernet.methods.base import Method, after_warmup, training_loss
from nasplat.supernet.objective import label_loss
from nasplat.supernet.policy import Judge
from nasplat.supernet.recipe import expect
from nasplat.supernet.schedule import Phase, Schedule


@dataclass(frozen=True, slots=True)
class FullOrShallow:
    """One architecture a step: the full one with probability `share`, else any of the shallow ones."""

    full: Arch
    shallow: tuple[Arch, ...]
    share: float
    seed: int = 0

    def ask(self, step: int, judge: Judge) -> list[Arch]:
        rng = np.random.default_rng([self.seed, step])
        if rng.random() < self.share:
            return [self.full]
        return [self.shallow[int(rng.integers(len(self.shallow)))]]

    def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
        """Nothing to learn."""


@dataclass(frozen=True, slots=True)
class DepthRatioTraining(Method):
    """In the spirit of VARiant (arXiv:2511.16546): mostly the full network at first, mostly shallow ones in the end.

    Each step trains the full network or one of a few shallow ones, whose depths lie at equal distances down to the
    smallest; all other choices stay at their largest. The share of the full network moves linearly from `first` to
    `last`, in `parts` equal parts of the training. The paper keeps evenly spaced layers of an autoregressive
    transformer; here a depth keeps the blocks that the network's ElasticDepth keeps.

    first, last: the shares of steps for the full network. shallow: the number of shallow networks.

    Control: a constant share.
    """

    control: ClassVar[Mapping[str, Any]] = {"method": "depth_ratio", "first": 0.5, "last": 0.5}

    first: float = 0.9
    last: float = 0.1
    shallow: int = 3
    parts: int = 20

    def __post_init__(self) -> None:
        Method.__post_init__(self)
        expect("first", self.first, 0 <= self.first <= 1, "0 to 1")
        expect("last", self.last, 0 <= self.last <= 1, "0 to 1")
        expect("shallow", self.shallow, self.shallow >= 1, "at least 1")
        expect("parts", self.parts, self.parts >= 1, "at least 1")

    def schedule(self, space: Space, data: Dataset, seed: int) -> Schedule:
        """Warm-up, then a phase for every share."""
        loss, full, shallow = training_loss(data, self), space.largest(), shallow_archs(space, self.shallow)
        shares = [
            self.first + (self.last - self.first) * (part + 0.5) / self.parts for part in range(self.parts)
        ]
        phases = [
            Phase((part + 1) / self.parts, FullOrShallow(full, shallow, share, seed), label_loss(loss))
            for part, share in enumerate(shares)
        ]
        return after_warmup(space, self.warmup, loss, *phases)


def shallow_archs(space: Space, n: int) -> tuple[Arch, ...]:
    """Up to n architectures, all choices of depth at the same share of their range, the last at its lower end.

    TrainingError for a space without a choice of depth.
    """
    depths = [c for c in space.choices if c.kind == "depth" and c.ordered and len(c.values) > 1]
    if not depths:
        raise TrainingError(
            f"depth_ratio needs a choice of depth, and {space.name} has none (named depth or depth1, in order);"
            " use another method"
        )
    largest = {c.name: c.values[-1 if c.ordered else 0] for c in space.choices}
    archs = []
    for k in range(1, n + 1):
        at = {c.name: c.values[round((len(c.values) - 1) * (1 - k / n))] for c in depths}
        archs.append(space.arch(largest | at))
    return tuple(dict.fromkeys(arch for arch in archs if arch != space.largest()))
