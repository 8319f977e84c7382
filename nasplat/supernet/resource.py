"""Which architectures a step visits, when what they cost is decided first.

Costs of choices that are drawn one by one crowd in the middle of the range, as sums of independent numbers do. Here a
bin of costs is drawn first, and then an architecture of the bin, each with the same probability.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nasplat.space import Arch, Space
from nasplat.supernet.bins import Bins
from nasplat.supernet.policy import Judge


@dataclass(frozen=True, slots=True)
class CostFirst:
    """`n` architectures a step, each from a bin that is drawn first, each bin alike."""

    bins: Bins
    n: int = 1
    seed: int = 0

    def ask(self, step: int, judge: Judge) -> list[Arch]:
        rng = np.random.default_rng([self.seed, step])
        return [self.bins.sample(int(rng.integers(len(self.bins))), rng) for _ in range(self.n)]

    def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
        """Nothing to learn."""


@dataclass(frozen=True, slots=True)
class Attentive:
    """The largest, the smallest, and `n` that stand out among equals in cost (AttentiveNAS, arXiv:2011.09011).

    Each of the n is chosen so: a bin is drawn with the probability that the space itself gives it, then `candidates`
    architectures of this bin; the one with the lowest loss on this step's batch is trained where `best` (BestUp-k),
    else the one with the highest (WorstUp-k). The losses are read from the device once a step.
    With one candidate nobody is judged: the control.
    """

    bins: Bins
    n: int = 2
    candidates: int = 3
    best: bool = True
    seed: int = 0

    def ask(self, step: int, judge: Judge) -> list[Arch]:
        rng, space = np.random.default_rng([self.seed, step]), self.bins.totals.space
        groups = [self._equals(space, rng) for _ in range(self.n)]
        chosen = [0] * self.n
        if self.n and self.candidates > 1:
            losses = torch.stack([torch.stack([judge(arch) for arch in group]) for group in groups])
            chosen = (losses.argmin(1) if self.best else losses.argmax(1)).tolist()
        picked = [group[i] for group, i in zip(groups, chosen, strict=True)]
        return [space.largest(), space.smallest(), *picked]

    def _equals(self, space: Space, rng: np.random.Generator) -> list[Arch]:
        """Candidates of one bin."""
        number = None
        while number is None:
            number = self.bins.find(space.sample(rng))
        return [self.bins.sample(number, rng) for _ in range(self.candidates)]

    def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
        """Nothing to learn."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How probabilities of bins follow their losses.

    every: steps between two updates. memory: of the running mean of each bin's loss, L <- memory * L +
    (1 - memory) * loss. temperature: of the softmax over gains, in the unit of the loss. uniform: the share of the
    probability that all bins have alike.
    """

    every: int = 50
    memory: float = 0.9
    temperature: float = 0.1
    uniform: float = 0.1


class Shifting:
    """`n` architectures a step, each from a bin that is drawn first: those bins more often whose loss still falls.

    In the spirit of ShiftNAS (arXiv:2307.08300). There the probabilities take gradient steps on how far a bin's loss
    fell between two updates (equation 8), on data held out for that. Here this gain is max(0, L_b(then) - L_b(now)),
    with L_b the running mean of the training loss, and

        p = (1 - uniform) * softmax(gain / temperature) + uniform / bins.

    The running losses stay on the device; every `shift.every` steps they are read, which waits for it once.
    """

    def __init__(self, bins: Bins, n: int = 1, seed: int = 0, shift: Shift | None = None) -> None:
        self.bins, self.n, self.seed, self.shift = bins, n, seed, shift or Shift()
        self.probabilities = np.full(len(bins), 1 / len(bins))
        self._steps = 0
        self._asked: list[int] = []
        self._now = torch.full((len(bins),), torch.nan)
        self._then = self._now.clone()

    def ask(self, step: int, judge: Judge) -> list[Arch]:
        rng = np.random.default_rng([self.seed, step])
        self._asked = rng.choice(len(self.bins), self.n, p=self.probabilities).tolist()
        return [self.bins.sample(number, rng) for number in self._asked]

    def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
        """Losses of what was asked for, in that order."""
        self._now, self._then = (old.to(losses[0].device) for old in (self._now, self._then))
        for number, loss in zip(self._asked, losses, strict=True):
            before = torch.where(self._now[number].isnan(), loss, self._now[number])
            self._now[number] = self.shift.memory * before + (1 - self.shift.memory) * loss
        self._steps += 1
        if self._steps % self.shift.every == 0:
            self._update()

    def _update(self) -> None:
        gain = (self._then - self._now).clamp(min=0).nan_to_num(0.0)
        learned = (gain.double() / self.shift.temperature).softmax(0).cpu().numpy()
        even = self.shift.uniform
        self.probabilities = (1 - even) * learned + even / len(self.bins)
        self._then = self._now.clone()

    def state(self) -> dict[str, Tensor]:
        """The running losses now and at the last update, the probabilities since, and the number of steps."""
        if self._steps == 0:
            return {}
        probabilities, steps = torch.from_numpy(self.probabilities), torch.tensor(self._steps)
        return {"now": self._now, "then": self._then, "probabilities": probabilities, "steps": steps}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._now, self._then = state["now"], state["then"]
        self.probabilities = state["probabilities"].cpu().numpy()
        self._steps = int(state["steps"])
