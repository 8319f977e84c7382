"""Optuna's storage interface on the tables of a store."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import bindparam, select, update

from nasplat.store.database import Link, Statement
from nasplat.store.optuna_history import (
    TO_STATE,
    Draft,
    History,
    clone,
    fields_of,
    local_time,
    plain,
    running,
    thawed,
)
from nasplat.store.optuna_studies import StudyStorage, advance, refuse_architectures
from nasplat.store.studies import put_distributions
from nasplat.store.tables import Trial, table
from nasplat.store.trials import EMPTY, add_trial, put_step

_TRIAL = table(Trial)
_place = Statement(select(_TRIAL.c.study_id, _TRIAL.c.number).where(_TRIAL.c.id == bindparam("at")))


def _edit(*names: str, **values: Any) -> Statement:
    """Change columns of a trial that is still at a known revision."""
    new: dict[str, Any] = {name: bindparam(name) for name in (*names, "revision")}
    unchanged = (_TRIAL.c.id == bindparam("at"), _TRIAL.c.revision == bindparam("known"))
    return Statement(update(_TRIAL).where(*unchanged).values({**new, **values}))


_set_params = _edit("params", "distributions")
_set_attrs = {"system_attrs": _edit("system_attrs"), "user_attrs": _edit("user_attrs")}
_set_steps = _edit("steps")
_start = _edit("state", "started", attempt=_TRIAL.c.attempt + 1)
_finish = _edit("state", "objective_values", "finished", worker=None, lease_expires=None)

Edit = Callable[[Link, History, FrozenTrial], tuple[FrozenTrial, dict[str, Any]]]


class _Stale(Exception):
    """Somebody else has changed the trial since it was read."""


class _Taken(Exception):
    """Somebody else runs the trial already."""


class OptunaStorage(StudyStorage):
    """Any Optuna study in a nasplat store, and any nasplat study in Optuna's tools.

    Each write is one transaction and durable at once. What was read stays in memory and only news are read,
    so that a trial costs the same however many came before. Trials made through this interface have no
    architecture and no lease, so a study that searches architectures is read, not run, through it (StoreError).
    Threads and processes may share it; a pickle holds only the address.
    See Optuna's `BaseStorage` for each method.
    """

    def __init__(self, url: str, *, base: Path | None = None) -> None:
        """Open a store by its address; see `Store.open`."""
        super().__init__(url, base=base)
        self._places: dict[int, tuple[int, int]] = {}  # trial id: study id and number

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        values: dict[str, Any] = {"state": "running", "attempt": 1, "started": time.time()}
        with self._lock:
            history = self._history(study_id)
            with self._writing(study_id, new=1) as (link, step):
                if template_trial is not None:
                    values = fields_of(template_trial)
                    values["distributions"] = self._ids(link, history, template_trial)
                number = step.trial_count - 1
                place = {"study_id": study_id, "number": number, "revision": step.revision}
                trial_id = int(link.rows(add_trial, **{**EMPTY, **values, **place})[0][0])
                steps = {} if template_trial is None else template_trial.intermediate_values
                for at, value in steps.items():
                    put_step(link, trial_id, at, value)
            self._places[trial_id] = (study_id, number)
            if template_trial is None and len(history.trials) == number:
                history.put(running(trial_id, number, values["started"]), step.revision, Draft())
                history.wrote(step.revision)
        return trial_id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        content = distribution_to_json(distribution)

        def edit(link: Link, history: History, trial: FrozenTrial) -> tuple[FrozenTrial, dict[str, Any]]:
            row_id = self._distribution_id(link, history, param_name, content)
            read_back = history.distributions[row_id]
            value = read_back.to_external_repr(param_value_internal)
            is_new = param_name not in trial.params
            draft = history.drafts[trial.number].set(param_name, value, row_id, is_new)
            new = clone(trial)
            new.params = {**trial.params, param_name: value}
            new.distributions = {**trial.distributions, param_name: read_back}
            return new, {"params": draft.params, "distributions": draft.ids}

        self._change(trial_id, _set_params, edit)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        now = time.time()

        def start(_link: Link, _history: History, trial: FrozenTrial) -> tuple[FrozenTrial, dict[str, Any]]:
            if trial.state != TrialState.WAITING:
                raise _Taken
            new = clone(trial)
            new.state, new.datetime_start = state, local_time(now)
            return new, {"state": "running", "started": now}

        def finish(_link: Link, _history: History, trial: FrozenTrial) -> tuple[FrozenTrial, dict[str, Any]]:
            new = clone(trial)
            new.state = state
            if values is not None:
                new.values = [float(value) for value in values]
            finished = now if state.is_finished() else None
            new.datetime_complete = local_time(finished)
            known = None if new.values is None else json.dumps(new.values)
            return new, {"state": TO_STATE[state], "objective_values": known, "finished": finished}

        if state != TrialState.RUNNING:
            self._change(trial_id, _finish, finish)
            return True
        try:
            self.get_trial(trial_id)  # as it is now
            self._change(trial_id, _start, start)
        except _Taken:
            return False
        return True

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        def edit(link: Link, _history: History, trial: FrozenTrial) -> tuple[FrozenTrial, dict[str, Any]]:
            put_step(link, trial_id, step, intermediate_value)
            new = clone(trial)
            new.intermediate_values = {**trial.intermediate_values, step: intermediate_value}
            return new, {"steps": 1}

        self._change(trial_id, _set_steps, edit)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._set_trial_attr(trial_id, "user_attrs", key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._set_trial_attr(trial_id, "system_attrs", key, value)

    def _set_trial_attr(self, trial_id: int, kind: str, key: str, value: Any) -> None:
        read_back = plain(value)

        def edit(_link: Link, _history: History, trial: FrozenTrial) -> tuple[FrozenTrial, dict[str, Any]]:
            attrs = {**getattr(trial, kind), key: read_back}
            new = clone(trial)
            setattr(new, kind, attrs)
            return new, {kind: json.dumps(attrs)}

        self._change(trial_id, _set_attrs[kind], edit)

    def _change(self, trial_id: int, statement: Statement, edit: Edit) -> None:
        """Change a trial in one transaction; again, if it is not as it was read."""
        with self._lock:
            while True:
                history, trial = self._locate(trial_id)
                self.check_trial_is_updatable(trial_id, trial.state)
                known = history.revisions[trial.number]
                try:
                    with self._database.transaction() as link:
                        step = advance(link, history.study_id)
                        new, values = edit(link, history, trial)
                        if "state" in values:
                            refuse_architectures(link, history.study_id, step)
                        where = {"at": trial_id, "known": known, "revision": step.revision}
                        if not link.change(statement, **where, **values):
                            raise _Stale
                except _Stale:
                    self._sync(history)
                    continue
                draft = history.drafts[trial.number]
                if "params" in values:
                    draft = Draft(values["params"], values["distributions"])
                history.put(new, step.revision, draft)
                history.wrote(step.revision)
                return

    def _ids(self, link: Link, history: History, trial: FrozenTrial) -> str:
        contents = {name: distribution_to_json(trial.distributions[name]) for name in trial.params}
        return json.dumps([self._distribution_id(link, history, *pair) for pair in contents.items()])

    def _distribution_id(self, link: Link, history: History, name: str, content: str) -> int:
        known = history.distributions
        row_id = known.id(name, content)
        if row_id is None:
            known.read(link, history.study_id)
            row_id = known.id(name, content)
        if row_id is None:
            if name in known.by_name:
                check_distribution_compatibility(known.by_name[name], json_to_distribution(content))
            put_distributions(link, history.study_id, {name: content})
            known.read(link, history.study_id)
            row_id = known.id(name, content)
        assert row_id is not None
        return row_id

    # reading trials

    def _history(self, study_id: int) -> History:
        history = self._histories.get(study_id)
        return history or self._histories.setdefault(study_id, History(study_id))

    def _sync(self, history: History) -> None:
        try:
            if not history.is_current(self._database.link):
                with self._reading() as link:
                    history.sync(link)
        except KeyError:
            self._histories.pop(history.study_id, None)
            raise

    def _synced(self, study_id: int) -> History:
        history = self._history(study_id)
        self._sync(history)
        return history

    def _locate(self, trial_id: int) -> tuple[History, FrozenTrial]:
        """A trial as it was read last, read now if it never was."""
        place = self._places.get(trial_id)
        if place is None:
            with self._reading() as link:
                row = link.row(_place, at=trial_id)
            if row is None:
                raise KeyError(f"No trial with trial_id {trial_id} exists.")
            place = self._places[trial_id] = (row[0], row[1])
        history = self._history(place[0])
        if len(history.trials) <= place[1]:
            self._sync(history)
        return history, history.trials[place[1]]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        with self._lock:
            history, trial = self._locate(trial_id)
            if trial.state not in (TrialState.COMPLETE, TrialState.FAIL):  # a dropped one may be enqueued
                self._sync(history)
            return history.trials[trial.number]

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        with self._lock:
            trials = self._synced(study_id).trials
            if not 0 <= trial_number < len(trials):
                raise KeyError(f"No trial with number {trial_number} exists in study {study_id}.")
            return trials[trial_number]._trial_id

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        with self._lock:
            history = self._synced(study_id)
            if states is None:
                trials = list(history.trials)
            elif any(state.is_finished() and state in states for state in TrialState):
                trials = [trial for trial in history.trials if trial.state in states]
            else:
                open_trials = (history.trials[number] for number in sorted(history.drafts))
                trials = [trial for trial in open_trials if trial.state in states]
        return [thawed(trial) for trial in trials] if deepcopy else trials

    def get_n_trials(self, study_id: int, state: tuple[TrialState, ...] | TrialState | None = None) -> int:
        with self._lock:
            history = self._synced(study_id)
            if state is None:
                return len(history.trials)
            states = {state} if isinstance(state, TrialState) else set(state)
            return sum(history.counts[one] for one in states)

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        with self._lock:
            history = self._synced(study_id)
            if not history.counts[TrialState.COMPLETE]:
                raise ValueError("No trials are completed yet.")
            if history.best is None:
                raise RuntimeError("Best trial can be obtained only for single-objective optimization.")
            return history.best
