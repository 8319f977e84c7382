"""Regularised (aging) evolution as an Optuna sampler."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from nasplat.errors import NasplatError
from nasplat.pareto import nondominated
from nasplat.search.unseen import find_unseen
from nasplat.space import Arch, Space

if TYPE_CHECKING:
    from optuna.study import Study

Params = tuple[tuple[str, Any], ...]

RETRIES = 4
"""How often a sampler is asked again before the neighbours of its proposals are taken."""


class RegularizedEvolutionSampler(BaseSampler):
    """Aging evolution: the youngest trials are the population, the best of a few drawn ones has a child.

    "Regularized Evolution for Image Classifier Architecture Search" (Real et al., arXiv:1802.01548),
    Algorithm 1. The first `population_size` (P) trials are random. After that the population is the last P
    complete trials; `sample_size` (S) of them are drawn with replacement, and the best one is copied with one
    parameter changed. Of several objectives the best is a random one among the drawn that no drawn one
    dominates. Feasible trials beat infeasible ones, and among infeasible ones the least sum of violations wins.

    With a `space` it mutates architectures (`Space.mutate`) and, unless `avoid_repeats` is off, asks again when
    a trial of the study has the architecture already; a loop that refuses repeats itself, as `Mirror`, turns
    that off. Without a space it works in any Optuna study: parameters that the parent lacks, or whose range
    has moved away from the parent's value, are drawn at random. All state is in the study's trials.
    """

    def __init__(
        self,
        population_size: int = 50,
        sample_size: int = 10,
        *,
        space: Space | None = None,
        avoid_repeats: bool = True,
        seed: int | None = None,
    ) -> None:
        for name, size in (("population_size", population_size), ("sample_size", sample_size)):
            if size < 1:
                raise NasplatError(f"{name} is {size}: give at least 1")
        self.population_size = population_size
        self.sample_size = sample_size
        self.space = space
        self.avoid_repeats = avoid_repeats
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed=seed)
        self._key = lru_cache(maxsize=None)(self._key_of)

    def reseed_rng(self) -> None:
        """Start unrelated random streams, as Optuna asks of every copy in a thread."""
        self._rng = np.random.default_rng()
        self._random.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every choice of the space; without one, every parameter that the population knows."""
        if self.space is not None:
            return self.space.distributions()
        known: dict[str, BaseDistribution] = {}
        for member in reversed(self._population(study)):  # the youngest has the last word on a range
            known.update(member.distributions)
        return {name: drawn for name, drawn in known.items() if not drawn.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parameters of a child of the population, or random ones while the population is small."""
        parent = self._parent(study)
        if self.space is not None:
            params = self.space.params(self._child(study, trial, parent))
            return {name: params[name] for name in search_space if name in params}
        inherited = _inherited(parent, search_space)
        if inherited:
            del inherited[str(self._rng.choice(list(inherited)))]  # the one that changes
        return {
            name: inherited[name] if name in inherited else self._other(study, trial, parent, name, drawn)
            for name, drawn in search_space.items()
        }

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value, as for every parameter that the population does not know."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _population(self, study: Study) -> list[FrozenTrial]:
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        youngest = (t for t in reversed(complete) if self.space is None or self._key(_params(t)))
        population = list(islice(youngest, self.population_size))
        return population if len(population) == self.population_size else []

    def _parent(self, study: Study) -> FrozenTrial | None:
        population = self._population(study)
        if not population:
            return None
        drawn = [population[i] for i in self._rng.integers(len(population), size=self.sample_size)]
        best = best_of(drawn, [direction.name.lower() for direction in study.directions])
        return best[int(self._rng.integers(len(best)))]

    def _other(
        self, study: Study, trial: FrozenTrial, parent: FrozenTrial | None, name: str, drawn: BaseDistribution
    ) -> Any:
        while True:
            value = self.sample_independent(study, trial, name, drawn)
            if parent is None or drawn.single() or name not in parent.params or value != parent.params[name]:
                return value

    def _child(self, study: Study, trial: FrozenTrial, parent: FrozenTrial | None) -> Arch:
        assert self.space is not None
        seen = self._seen(study, trial) if self.avoid_repeats else set()
        wanted = []
        for _ in range(RETRIES):
            if parent is None or self.space.size == 1:
                arch = self.space.sample(self._rng)
            else:
                arch = self.space.mutate(self.space.from_params(parent.params), self._rng)
            if arch.key not in seen:
                return arch
            wanted.append(arch)
        return find_unseen(self.space, seen, wanted, self._rng) or wanted[0]

    def _seen(self, study: Study, trial: FrozenTrial) -> set[str]:
        others = (t for t in study.get_trials(deepcopy=False) if t.number != trial.number)
        return {key for t in others if (key := self._key(_params(t)))}

    def _key_of(self, params: Params) -> str | None:
        """The key of the architecture of these parameters; None where they are of another space."""
        assert self.space is not None
        try:
            return self.space.from_params(dict(params)).key
        except NasplatError:
            return None


def best_of(trials: Sequence[FrozenTrial], directions: Sequence[str]) -> list[FrozenTrial]:
    """The trials of least violation that no other of them dominates; more than one where they tie."""
    violations = [sum(max(0.0, v) for v in t.constraints.values()) for t in trials]
    lowest = min(violations)
    least = [t for t, v in zip(trials, violations, strict=True) if v == lowest]
    mask = nondominated([t.values for t in least], directions)
    return [t for t, best in zip(least, mask, strict=True) if best]


def _inherited(parent: FrozenTrial | None, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
    """The parent's values of these parameters; Optuna drops one that has left its range."""
    values = {} if parent is None else parent.params
    return {name: values[name] for name, drawn in search_space.items() if name in values}


def _params(trial: FrozenTrial) -> Params:
    return tuple(trial.params.items())
