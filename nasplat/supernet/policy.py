"""Which architectures a training step visits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from nasplat.space import Arch, Space


class Judge(Protocol):
    """Says what an architecture is worth before a step, as a scalar without gradient.

    It runs as in training, with dropout and batch statistics, and changes nothing: neither running statistics nor
    random numbers, which are the same for every architecture that is judged in a step.
    """

    def __call__(self, arch: Arch) -> Tensor:
        """The loss on the step's batch, on the device, by the phase's objective without a teacher: so by its labels."""
        ...

    def validate(self, arch: Arch) -> Tensor:
        """The task's score on a random batch of the validation split, which differs from step to step."""
        ...


class Policy(Protocol):
    """Asked for architectures before a step and told their losses after it.

    `ask` depends on the seed, the step, the judge's verdicts and what `tell` has told: every process of a
    distributed training asks alike. A policy that learns from `tell` is `Stateful`. `tell` gets detached scalars on
    the device: reading one waits for the device.
    """

    def ask(self, step: int, judge: Judge) -> list[Arch]:
        """The architectures of a step, in the order in which they are run; at least one."""
        ...

    def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
        """The training losses of the architectures of the last step."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same architectures in every step."""

    archs: tuple[Arch, ...]

    def ask(self, step: int, judge: Judge) -> list[Arch]:
        return list(self.archs)

    def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
        """Nothing to learn."""


@dataclass(frozen=True, slots=True)
class Uniform:
    """`n` random architectures a step, each choice drawn uniformly (single path, arXiv:1904.00420)."""

    space: Space
    n: int = 1
    seed: int = 0

    def ask(self, step: int, judge: Judge) -> list[Arch]:
        rng = np.random.default_rng([self.seed, step])
        return [self.space.sample(rng) for _ in range(self.n)]

    def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
        """Nothing to learn."""


@dataclass(frozen=True, slots=True)
class Sandwich:
    """The largest architecture first, then the smallest, then `random` random ones (arXiv:1903.05134).

    The largest comes first because it is the teacher of the others in in-place distillation.
    """

    space: Space
    random: int = 2
    seed: int = 0

    def ask(self, step: int, judge: Judge) -> list[Arch]:
        between = Uniform(self.space, self.random, self.seed).ask(step, judge)
        return [self.space.largest(), self.space.smallest(), *between]

    def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
        """Nothing to learn."""
