"""What a process has read of one study, as Optuna's frozen trials, kept up to date by revisions."""

from __future__ import annotations

import copy
import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import bindparam, select

from nasplat.store.database import Link, Row, Statement
from nasplat.store.studies import read_distributions
from nasplat.store.tables import Study, table
from nasplat.store.trials import read_json, read_rows

_STUDY = table(Study)
_head = Statement(select(_STUDY.c.revision, _STUDY.c.directions).where(_STUDY.c.id == bindparam("at")))

CONSTRAINT = "constraints:"  # what Optuna puts before a constraint's name in a trial's system attributes
FROM_STATE = {
    "waiting": TrialState.WAITING,
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "dropped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
TO_STATE = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


class Distributions:
    """The distributions of one study: by id, by name and content, and the first one of each parameter."""

    def __init__(self) -> None:
        self.last = 0
        self.by_name: dict[str, BaseDistribution] = {}
        self._by_id: dict[int, tuple[str, BaseDistribution]] = {}
        self._ids: dict[tuple[str, str], int] = {}
        self._sets: dict[str, dict[str, BaseDistribution]] = {}

    def id(self, name: str, content: str) -> int | None:
        """The row of a distribution, None if it has not been read."""
        return self._ids.get((name, content))

    def __getitem__(self, row_id: int) -> BaseDistribution:
        return self._by_id[row_id][1]

    def read(self, link: Link, study_id: int) -> None:
        """Read what is new; what is read of a transaction that is rolled back must be forgotten."""
        for row_id, name, content in read_distributions(link, study_id, self.last):
            self.add(row_id, name, content)

    def add(self, row_id: int, name: str, content: str) -> None:
        """Remember one."""
        distribution = json_to_distribution(content)
        self._by_id[row_id] = (name, distribution)
        self._ids[name, content] = row_id
        self.by_name.setdefault(name, distribution)
        self.last = max(self.last, row_id)

    def of(self, ids: str, link: Link, study_id: int) -> dict[str, BaseDistribution]:
        """Distributions by parameter, from a trial's JSON list of ids; a new dictionary each time."""
        known = self._sets.get(ids)
        if known is None:
            wanted = json.loads(ids)
            if not self._by_id.keys() >= set(wanted):
                self.read(link, study_id)
            known = self._sets[ids] = dict(self._by_id[row_id] for row_id in wanted)
        return dict(known)


@dataclass(frozen=True, slots=True)
class Draft:
    """The parameters of an unfinished trial as they are stored: JSON texts that grow at their end."""

    params: str = "{}"
    ids: str = "[]"

    def set(self, name: str, value: Any, row_id: int, is_new: bool) -> Draft:
        """The texts with one more parameter, or with another value of one."""
        if is_new:
            item = f"{json.dumps(name)}: {json.dumps(value)}"
            return Draft(_appended(self.params, item), _appended(self.ids, str(row_id)))
        params = json.loads(self.params)
        ids = dict(zip(params, json.loads(self.ids), strict=True)) | {name: row_id}
        return Draft(json.dumps(params | {name: value}), json.dumps(list(ids.values())))


def _appended(text: str, item: str) -> str:
    return f"{text[:-1]}{', ' if len(text) > 2 else ''}{item}{text[-1]}"


class History:
    """The trials of one study. A trial in it is never changed but replaced, so it can be handed out."""

    def __init__(self, study_id: int) -> None:
        self.study_id = study_id
        self.revision = -1
        self.trials: list[FrozenTrial] = []
        self.revisions: list[int] = []
        self.drafts: dict[int, Draft] = {}  # of unfinished trials, by number
        self.counts: Counter[TrialState] = Counter()
        self.best: FrozenTrial | None = None
        self.directions: list[StudyDirection] = []
        self.distributions = Distributions()

    def _head(self, link: Link) -> Row:
        row = link.row(_head, at=self.study_id)
        if row is None:
            raise KeyError(f"No study with study_id {self.study_id} exists.")
        return row

    def is_current(self, link: Link) -> bool:
        """Whether there is nothing to read.

        Raises:
            KeyError: the study does not exist.
        """
        return bool(self._head(link)[0] == self.revision)

    def sync(self, link: Link) -> None:
        """Read what has changed since the last time; call it in a snapshot.

        Raises:
            KeyError: the study does not exist.
        """
        row = self._head(link)
        self.directions = [StudyDirection[name.upper()] for name in json.loads(row[1])]
        rows, steps = read_rows(link, self.study_id, self.revision)
        for trial_row in rows:
            distributions = self.distributions.of(trial_row[6], link, self.study_id)
            trial = frozen(trial_row, distributions, steps.get(trial_row[0], {}))
            self.put(trial, trial_row[-1], Draft(trial_row[5], trial_row[6]))
        self.revision = row[0]

    def put(self, trial: FrozenTrial, revision: int, draft: Draft) -> None:
        """Add a trial, or replace it as it is now."""
        number = trial.number
        if number < len(self.trials):
            self.counts[self.trials[number].state] -= 1
            self.trials[number], self.revisions[number] = trial, revision
        else:
            self.trials.append(trial)
            self.revisions.append(revision)
        self.counts[trial.state] += 1
        if trial.state.is_finished():
            self.drafts.pop(number, None)
            self._note_best(trial)
        else:
            self.drafts[number] = draft

    def wrote(self, revision: int) -> None:
        """Note that this process made a revision and put what it changed; nothing to read if it was the next."""
        if revision == self.revision + 1:
            self.revision = revision

    def _note_best(self, trial: FrozenTrial) -> None:
        if trial.state != TrialState.COMPLETE or len(self.directions) != 1:
            return
        if self.best is not None:
            new, old = trial.values[0], self.best.values[0]
            better = new > old if self.directions[0] == StudyDirection.MAXIMIZE else new < old
            if not better and not (new == old and trial.number < self.best.number):
                return
        self.best = trial


def frozen(
    row: Row, distributions: dict[str, BaseDistribution], intermediate: dict[int, float]
) -> FrozenTrial:
    """Optuna's view of a trial's row."""
    trial_id, number, state, _, _, params, _, values, constraints, system, user = row[:11]
    attrs = read_json(system)
    for name, violation in read_json(constraints).items():
        attrs[CONSTRAINT + name] = violation
    return FrozenTrial(
        number=number,
        state=FROM_STATE[state],
        value=None,
        values=None if values is None else json.loads(values),
        datetime_start=local_time(row[-3]),
        datetime_complete=local_time(row[-2]),
        params=read_json(params),
        distributions=distributions,
        user_attrs=read_json(user),
        system_attrs=attrs,
        intermediate_values=intermediate,
        trial_id=trial_id,
    )


def clone(trial: FrozenTrial) -> FrozenTrial:
    """A shallow copy; `copy.copy` takes five times as long."""
    new = FrozenTrial.__new__(FrozenTrial)
    new.__dict__.update(trial.__dict__)
    return new


def thawed(trial: FrozenTrial) -> FrozenTrial:
    """A copy that its owner may change; the distributions themselves are shared, since nobody changes them."""
    new = clone(trial)
    new.params = dict(trial.params)
    new.distributions = dict(trial.distributions)
    new.intermediate_values = dict(trial.intermediate_values)
    new.user_attrs = copy.deepcopy(trial.user_attrs) if trial.user_attrs else {}
    new.system_attrs = copy.deepcopy(trial.system_attrs) if trial.system_attrs else {}
    new._values = None if trial._values is None else list(trial._values)
    return new


def running(trial_id: int, number: int, started: float) -> FrozenTrial:
    """A trial that has just begun."""
    return FrozenTrial(
        number=number,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=local_time(started),
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
        trial_id=trial_id,
    )


def fields_of(trial: FrozenTrial) -> dict[str, Any]:
    """The columns of a trial that comes from elsewhere, but for its distributions."""
    return {
        "state": TO_STATE[trial.state],
        "attempt": 0 if trial.state == TrialState.WAITING else 1,
        "params": json.dumps(trial.params),
        "objective_values": None if trial.values is None else json.dumps([float(v) for v in trial.values]),
        "system_attrs": json.dumps(trial.system_attrs),
        "user_attrs": json.dumps(trial.user_attrs),
        "steps": int(bool(trial.intermediate_values)),
        "started": seconds_of(trial.datetime_start),
        "finished": seconds_of(trial.datetime_complete),
    }


def local_time(seconds: float | None) -> datetime | None:
    """Optuna's times: local, without a time zone."""
    return None if seconds is None else datetime.fromtimestamp(seconds)


def seconds_of(moment: datetime | None) -> float | None:
    """Seconds since 1970 of a local time."""
    return None if moment is None else moment.timestamp()


def plain(value: Any) -> Any:
    """A value as it will be read back from JSON."""
    return json.loads(json.dumps(value))
