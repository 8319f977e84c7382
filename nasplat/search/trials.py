"""Trials from plain data, and the seed that belongs to a trial."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

STATES = {
    "waiting": TrialState.WAITING,
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "dropped": TrialState.PRUNED,  # by a cheap filter: Optuna has no word of its own for it
    "failed": TrialState.FAIL,
}
"""Our names for the states of a trial and what Optuna's samplers see."""

# Samplers do not look at times, and a time of its own would make two mirrors of one study differ.
_SOME_TIME = datetime(2000, 1, 1, tzinfo=UTC)


def trial_seed(study_seed: int, number: int, attempt: int = 0) -> int:
    """The 32-bit seed of a trial's sampler: equal arguments give equal seeds, other seeds are unrelated."""
    digest = hashlib.sha256(f"{study_seed}/{number}/{attempt}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def freeze(
    *,
    number: int,
    state: str,
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    values: Sequence[float] | None = None,
    constraints: Mapping[str, float] | None = None,
    intermediate: Mapping[int, float] | None = None,
    system_attrs: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    """An Optuna trial from plain data, such as a row of the store; its trial id is its number.

    `state` is a key of STATES; `constraints` are violations, feasible at 0 and below; `intermediate` maps
    steps (int, or str after JSON) to values.
    """
    finished = STATES[state].is_finished()
    trial = FrozenTrial(
        number=number,
        trial_id=number,
        state=STATES[state],
        value=None,
        values=values,
        datetime_start=_SOME_TIME,
        datetime_complete=_SOME_TIME if finished else None,
        params=dict(params),
        distributions={name: distributions[name] for name in params},
        user_attrs={},
        system_attrs=dict(system_attrs or {}),
        intermediate_values={int(step): value for step, value in (intermediate or {}).items()},
    )
    for name, value in (constraints or {}).items():
        trial.set_constraint(name, value)
    return trial
