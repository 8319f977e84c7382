"""Training a supernet whose architectures are assigned to experts: who gets which, and what is learned from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nasplat.data import evaluate
from nasplat.elastic.weights.assigned import (
    Assigned,
    AssignedRouter,
    with_expert,
    without_expert,
)
from nasplat.elastic.weights.replace import places
from nasplat.space import Arch
from nasplat.supernet.mixtures.balancing import Table, balanced, softmax
from nasplat.supernet.mixtures.inherit import inherit
from nasplat.supernet.policy import Judge, Policy
from nasplat.supernet.probes.load import TALLY, Tally
from nasplat.supernet.probes.look import Look
from nasplat.supernet.schedule import Stateful

DRAW = 7  # what a seed is derived for, beside those of the training
PAIRS = "pairs"  # the name in checkpoints


@dataclass(frozen=True, slots=True)
class Ramp:
    """A temperature that goes linearly from `low` at the step `begin` to `high` at the last one before `end`."""

    low: float
    high: float
    begin: int
    end: int

    def __call__(self, step: int) -> float:
        done = (step - self.begin) / max(1, self.end - 1 - self.begin)
        return self.low + (self.high - self.low) * done


@dataclass(frozen=True, slots=True)
class Learner:
    """Draws experts for architectures, and learns from the validation split which fit which.

    feedback: the rate at which scores follow what is seen. sign: 1 where a larger score of the task is better, else -1.
    pairs: what was trained in the last step. Before ramp.begin there is expert 0 alone.
    """

    router: AssignedRouter
    pairs: Tally
    ramp: Ramp
    feedback: float
    sign: float
    balance: bool
    seed: int

    def learn(self, judge: Judge) -> None:
        """Feed the validation scores of the last step's pairs back."""
        for arch in self.pairs.take():
            self.router.feed_back(arch, self.sign * judge.validate(arch), self.feedback)

    def assign(self, archs: Sequence[Arch], step: int) -> list[Arch]:
        """The architectures, each with an expert drawn by its row of the probabilities, which are made anew."""
        if step < self.ramp.begin:
            return [with_expert(arch, 0) for arch in archs]
        logits = self.ramp(step) * self.router.scores.double().cpu().numpy()
        probabilities = balanced(logits) if self.balance else softmax(logits)
        self.router.probabilities.copy_(torch.from_numpy(probabilities))
        draws = np.random.default_rng([self.seed, step, DRAW]).random(len(archs))
        rows = [probabilities[self.router.rows(arch)] for arch in archs]
        pairs = [with_expert(a, _draw(row, u)) for a, row, u in zip(archs, rows, draws, strict=True)]
        self.pairs.note(pairs)
        return pairs


def _draw(probabilities: Table, u: float) -> int:
    """The number whose share of [0, 1) holds u."""
    return int((np.cumsum(probabilities)[:-1] <= u).sum())


@dataclass(frozen=True, slots=True)
class Assigning:
    """A policy whose architectures get experts; it is itself asked for, and told of, architectures alone.

    keeps: whether the learner, which several policies share, is part of this one's state.
    """

    policy: Policy
    learner: Learner
    keeps: bool = True

    def ask(self, step: int, judge: Judge) -> list[Arch]:
        self.learner.learn(judge)
        return self.learner.assign(self.policy.ask(step, judge), step)

    def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
        self.policy.tell([without_expert(arch) for arch in archs], losses)

    def state(self) -> dict[str, Tensor]:
        """The state of the policy, if it learns, and the pairs that are not fed back yet; scores are the network's."""
        learned = self.policy.state() if isinstance(self.policy, Stateful) else {}
        pairs = self.learner.pairs.state() if self.keeps else {}
        return learned | ({PAIRS: pairs[TALLY]} if pairs else {})

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Give both what is theirs."""
        learned = {name: tensor for name, tensor in state.items() if name != PAIRS}
        if learned and isinstance(self.policy, Stateful):
            self.policy.restore(learned)
        if PAIRS in state:
            self.learner.pairs.restore(state[PAIRS])


@dataclass(frozen=True, slots=True)
class CopyFirst:
    """Every expert becomes the first one, with its optimiser state: a warm start of them all."""

    @property
    def exact(self) -> bool:
        """All architectures were trained with the first expert, and compute what they did with it."""
        return True

    def __call__(self, net: nn.Module, optimiser: Optimizer) -> None:
        for place in places(net):
            bank, router = place.source.bank, place.source.router
            if isinstance(router, Assigned):
                for name in bank.slot.tensors:
                    _copy_first(bank.atoms(name), len(bank) // router.shared.experts, optimiser)


def _copy_first(atoms: Sequence[Tensor], period: int, optimiser: Optimizer) -> None:
    """Copy the first `period` atoms over those of the other experts."""
    for number, atom in enumerate(atoms[period:]):
        inherit(atoms[number % period], atom, optimiser)


def expert_scores(at: Look, arch: Arch) -> list[float]:
    """The task's score on the whole validation split of an architecture with the weights of each expert.

    The published search takes the best of them (arXiv:2306.11982); a study's search judges the architecture with
    the expert that it is assigned to. at: a supernet of a balanced mixture, with batches to recalibrate on.
    """
    experts = next(m.experts for m in at.net.modules() if isinstance(m, AssignedRouter))
    subnets = (at.subnet(with_expert(arch, number)) for number in range(experts))
    validation, task = at.data.validation, at.data.task
    return [evaluate(subnet, validation, task, device=at.device) for subnet in subnets]
