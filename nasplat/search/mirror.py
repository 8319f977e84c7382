"""The mirror: a study in memory, kept in step with the store, in which samplers and pruners look around.

The store is the record and the mirror its reflection: it is filled with finished and pending trials, asked for a
proposal, and may be thrown away at any time. It refuses architectures that the study has seen.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.storages._in_memory import _StudyInfo
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nasplat.errors import NasplatError
from nasplat.search.evolution import RETRIES
from nasplat.search.trials import trial_seed
from nasplat.search.unseen import find_unseen
from nasplat.space import Arch, Space


class SpaceExhausted(Exception):
    """Every architecture of the space has been proposed: the search is done."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a trial should evaluate, and what a resumed study must know to go on in the same way.

    `params` are Optuna's flat parameters; `system_attrs` belong to the trial, `study_attrs` are those of the study
    that changed while the samplers were asked. All of them are plain JSON.
    """

    params: dict[str, Any]
    arch: Arch
    system_attrs: dict[str, Any]
    study_attrs: dict[str, Any]


class Mirror:
    """An Optuna study in memory whose samplers live for one trial each.

    `sampler_for(seed)` makes the sampler of a trial; its seed is `trial_seed(seed, number, attempt)`. `directions`
    are "minimize" or "maximize", one an objective. A `pruner` needs a single objective, as in Optuna.
    """

    def __init__(
        self,
        directions: Sequence[str],
        sampler_for: Callable[[int], BaseSampler],
        space: Space,
        seed: int,
        pruner: BasePruner | None = None,
    ) -> None:
        if pruner is not None and len(directions) > 1:
            raise NasplatError(f"a pruner needs one objective, but there are {len(directions)}: leave it out")
        self.space = space
        self.seed = seed
        self._sampler_for = sampler_for
        self._pruner = pruner
        self._trials = _Trials([StudyDirection[direction.upper()] for direction in directions])
        self._keys: list[str] = []
        self._seen: Counter[str] = Counter()
        self._proposed: int | None = None
        self._study = optuna.load_study(
            study_name=_Trials.NAME,
            storage=self._trials,
            sampler=optuna.samplers.RandomSampler(),  # replaced for every trial
            pruner=pruner or NopPruner(),
        )

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def study(self) -> optuna.Study:
        """The Optuna study, to look at."""
        return self._study

    def put(self, trial: FrozenTrial) -> None:
        """Add the next trial, or replace the one of the same number; numbers come without gaps.

        A waiting trial is held as a running one: its architecture is taken, and the mirror hands nothing out.
        """
        if not 0 <= trial.number <= len(self):
            raise ValueError(
                f"trial {trial.number} came after {len(self)} trials: put them in order, without gaps"
            )
        if trial.number == self._proposed:
            self._proposed = None
        key = self.space.from_params(trial.params).key
        if trial.number < len(self):
            self._forget(self._keys[trial.number])
            self._keys[trial.number] = key
        else:
            self._keys.append(key)
        self._seen[key] += 1
        self._trials.put(trial)

    def propose(self, number: int) -> Proposal:
        """An architecture that the study has not seen, for the trial that comes next.

        A sampler is asked, and asked again with another seed a few times while it repeats itself; then an unseen
        neighbour of what it wanted is taken, then a random unseen architecture. Rejected proposals leave no
        trace. The accepted one stays as a running trial until `put` replaces it or `propose` is called again
        for the same number (when storing it failed). Raises SpaceExhausted when nothing is left.
        """
        if number == self._proposed:
            self._withdraw()
        if number != len(self):
            raise ValueError(f"trial {number} cannot be proposed: the next one is {len(self)}")
        if len(self._seen) >= self.space.size:
            raise SpaceExhausted(f"all {self.space.size} architectures of {self.space.name!r} were proposed")
        before = self._trials.study_attrs()
        arch, trial = self._unseen(number)
        self.put(trial)
        self._proposed = number
        after = self._trials.study_attrs()
        changed = {
            name: value for name, value in after.items() if name not in before or before[name] != value
        }
        return Proposal(dict(trial.params), arch, dict(trial.system_attrs), changed)

    def set_study_attrs(self, attrs: Mapping[str, Any]) -> None:
        """Load the study attributes that the store holds, such as NSGA-II's parents."""
        self._trials.set_study_attrs(attrs)

    def should_prune(self, number: int, intermediate: Mapping[int, float]) -> bool:
        """Whether the pruner would stop a running trial with these values so far (step to value)."""
        if self._pruner is None:
            return False
        trial = copy.copy(self._trials.get_trial(number))
        trial.intermediate_values = {int(step): value for step, value in intermediate.items()}
        self._trials.put(trial)
        return bool(self._pruner.prune(self._study, trial))

    def system_attrs(self, number: int) -> dict[str, Any]:
        """What samplers and pruners have noted on a trial; store it with the trial's result."""
        return dict(self._trials.get_trial(number).system_attrs)

    def _unseen(self, number: int) -> tuple[Arch, FrozenTrial]:
        wanted: list[Arch] = []
        for attempt in range(RETRIES):
            arch, trial = self._ask(trial_seed(self.seed, number, attempt))
            if arch.key not in self._seen:
                return arch, trial
            wanted.append(arch)
        rng = np.random.default_rng(trial_seed(self.seed, number, RETRIES))
        found = find_unseen(self.space, self._seen, wanted, rng)
        assert found is not None  # fewer seen than the space has
        trial.params = self.space.params(found)
        return found, trial

    def _ask(self, seed: int) -> tuple[Arch, FrozenTrial]:
        self._study.sampler = self._sampler_for(seed)
        try:
            asked = self._study.ask()
            return self.space.suggest(asked), self._trials.get_trial(asked._trial_id)
        finally:
            self._trials.drop_from(len(self))

    def _withdraw(self) -> None:
        self._forget(self._keys.pop())
        self._trials.drop_from(len(self))
        self._proposed = None

    def _forget(self, key: str) -> None:
        self._seen[key] -= 1
        if not self._seen[key]:
            del self._seen[key]


class _Trials(InMemoryStorage):
    """One study in which a trial's id is its number, and trials can be replaced and dropped.

    It touches what Optuna 5 keeps private: the public way copies every trial deeply and forgets nothing.
    """

    NAME = "mirror"

    def __init__(self, directions: Sequence[StudyDirection]) -> None:
        super().__init__()
        self._info = self._studies[0] = _StudyInfo(self.NAME, list(directions))
        self._study_name_to_id[self.NAME] = 0
        self._prev_waiting_trial_number[0] = 0

    def put(self, trial: FrozenTrial) -> None:
        trial = copy.copy(trial)
        trial._trial_id = trial.number
        if trial.state is TrialState.WAITING:
            trial.state = TrialState.RUNNING
        if trial.number < len(self._info.trials):
            self._info.trials[trial.number] = trial
        else:
            self._info.trials.append(trial)
        self._trial_id_to_study_id_and_number[trial.number] = (0, trial.number)
        self._max_trial_id = len(self._info.trials) - 1
        self._update_cache(trial.number, 0)

    def drop_from(self, number: int) -> None:
        for trial in self._info.trials[number:]:
            del self._trial_id_to_study_id_and_number[trial._trial_id]
        del self._info.trials[number:]
        self._max_trial_id = number - 1

    def study_attrs(self) -> dict[str, Any]:
        return dict(self._info.system_attrs)

    def set_study_attrs(self, attrs: Mapping[str, Any]) -> None:
        self._info.system_attrs = dict(attrs)
