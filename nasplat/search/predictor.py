"""Search guided by a predictor that learns from the trials of the study, as an Optuna sampler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from nasplat.errors import NasplatError, expected_one_of
from nasplat.search.acquisition import ACQUISITIONS, AcquisitionName
from nasplat.search.unseen import MOST_NEIGHBOURS, find_unseen
from nasplat.search.worth import worths
from nasplat.space import Arch, Space

if TYPE_CHECKING:
    from optuna.study import Study

Floats: TypeAlias = NDArray[np.float64]
Belief: TypeAlias = Callable[[Sequence[Arch]], tuple[Floats, Floats]]
"""n architectures -> mean (n,) and standard deviation (n,) of their values."""

LEARNED = 400
"""Of more trials than these, the better half and as many random others are learned from: fitting may cost n^3."""


class Surrogate(Protocol):
    """Learns what architectures are worth."""

    def __call__(self, archs: Sequence[Arch], values: Floats, seed: int, /) -> Belief:
        """What follows from n architectures and their finite values (n,), more being better, for all others."""


@dataclass(frozen=True, slots=True)
class Hunt:
    """How `PredictorSampler` looks for architectures.

    startup: finished trials before the surrogate is asked; until then proposals are random. acquisition: a name in
    ACQUISITIONS. pool: unseen architectures that it is asked about for a trial, half of them random, half neighbours
    of the `parents` best.
    """

    startup: int = 10
    acquisition: AcquisitionName = "ei"
    pool: int = 200
    parents: int = 10

    def __post_init__(self) -> None:
        for name, least in (("startup", 2), ("pool", 2), ("parents", 1)):
            if getattr(self, name) < least:
                raise NasplatError(f"{name} is {getattr(self, name)}: give at least {least}")
        if self.acquisition not in ACQUISITIONS:
            expected = expected_one_of(self.acquisition, ACQUISITIONS)
            raise NasplatError(f"unknown acquisition {self.acquisition!r}: {expected}")


@dataclass(frozen=True, slots=True)
class _Known:
    """The finished architectures of a study, the best first, with their worths (n,)."""

    archs: list[Arch]
    worths: Floats


class PredictorSampler(BaseSampler):
    """The unseen architecture that a surrogate, fitted on the finished trials, holds most worth trying.

    In the spirit of BANANAS (arXiv:1910.11858): a predictor's mean and deviation, an acquisition function, and a pool
    of mutations of the best; half of our pool is random. Expected improvement found the best networks soonest in
    studies/search_nb201; "thompson" draws, so that many workers at once spread.

    The surrogate is fitted again for every trial on all complete ones, of which failed and pruned ones are none: all
    state is in the study's trials. Worth is the objective; of several, a random weighting for each trial, and
    infeasible trials come last (see `worths`). Architectures of pending trials count as seen, and otherwise nothing is
    supposed of them. A trial of another space is ignored. When every architecture has been seen it may repeat one.
    """

    def __init__(
        self, space: Space, surrogate: Surrogate, hunt: Hunt | None = None, *, seed: int | None = None
    ) -> None:
        if not isinstance(space, Space):
            raise NasplatError(
                "PredictorSampler learns from architectures, which plain Optuna does not have: give it a nasplat Space"
            )
        self.space = space
        self.surrogate = surrogate
        self.hunt = hunt or Hunt()
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed=seed)

    def reseed_rng(self) -> None:
        """Start unrelated random streams, as Optuna asks of every copy in a thread."""
        self._rng = np.random.default_rng()
        self._random.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every choice of the space."""
        return self.space.distributions()

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parameters of the architecture to try next."""
        params = self.space.params(self._next(study, trial))
        return {name: params[name] for name in search_space if name in params}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value, for parameters that the space does not have."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _next(self, study: Study, trial: FrozenTrial) -> Arch:
        others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        archs = {t.number: arch for t in others if (arch := self._arch(t)) is not None}
        seen = {arch.key for arch in archs.values()}
        finished = [t for t in others if t.number in archs and _is_finished(t)]
        if len(finished) >= self.hunt.startup:
            found = worths(finished, [d.name.lower() for d in study.directions], self._rng)
            known = self._chosen([archs[t.number] for t in finished], found)
            pool = self._pool(known.archs[: self.hunt.parents], seen)
            if pool:
                return pool[self._most_promising(known, pool)]
        return find_unseen(self.space, seen, [], self._rng) or self.space.sample(self._rng)

    def _arch(self, trial: FrozenTrial) -> Arch | None:
        """The architecture of a trial; None where its parameters are of another space."""
        try:
            return self.space.from_params(trial.params)
        except NasplatError:
            return None

    def _chosen(self, archs: Sequence[Arch], found: Floats) -> _Known:
        """What to learn from, at most LEARNED of these."""
        order = np.argsort(-found, kind="stable")
        if len(order) > LEARNED:
            half = LEARNED // 2
            others = self._rng.choice(order[half:], LEARNED - half, replace=False)
            order = np.concatenate([order[:half], others])
        return _Known([archs[i] for i in order], found[order])

    def _pool(self, parents: Sequence[Arch], seen: set[str]) -> list[Arch]:
        """Different unseen architectures: random ones, and neighbours of the parents."""
        near = chain.from_iterable(islice(self.space.neighbours(arch), MOST_NEIGHBOURS) for arch in parents)
        unseen = list({arch.key: arch for arch in near if arch.key not in seen}.values())
        some = self._rng.permutation(len(unseen))[: self.hunt.pool // 2]
        drawn = (self.space.sample(self._rng) for _ in range(self.hunt.pool - len(some)))
        pool = {arch.key: arch for arch in drawn if arch.key not in seen}
        return list((pool | {unseen[i].key: unseen[i] for i in some}).values())

    def _most_promising(self, known: _Known, pool: Sequence[Arch]) -> int:
        """The place in the pool of the largest acquisition."""
        belief = self.surrogate(known.archs, known.worths, int(self._rng.integers(2**32)))
        mean, std = belief(pool)
        acquire = ACQUISITIONS[self.hunt.acquisition]
        return int(np.argmax(acquire(mean, std, float(known.worths.max()), self._rng)))


def _is_finished(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.COMPLETE and bool(np.isfinite(trial.values).all())
