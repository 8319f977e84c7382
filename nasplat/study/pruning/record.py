"""Runs of the pruner as rows of a store: a study for each network, a finished trial for each run.

A trial's architecture is what the run left of every group, and which run it was. The page beside the results makes the
study one that `nasplat front`, `nasplat show` and `open_study` can read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nasplat.errors import InvalidStudy, NasplatError
from nasplat.files import json_hash, write_atomic
from nasplat.space import Arch
from nasplat.store import Outcome, Proposal, SpaceRecord, Store, StudyRecord, worker_name
from nasplat.study.identity import refuse_changes

STORE = "sqlite:///prunes.db"
LEASE = 600.0

PAGE = """\
# Runs of `nasplat prune`, which writes them; look at them with: nasplat front {file}
[study]
name = {name}
store = {store}
[space]
name = "pruned"  # not a space to search: each architecture is what one run left of the network
"""


@dataclass(frozen=True, slots=True)
class Book:
    """Where runs of one network are written down.

    folder: where the page lies, and what the paths of bundles are relative to. objectives: with their directions.
    about: what the study is about, plain JSON: the network and the data.
    """

    folder: Path
    url: str
    name: str
    objectives: Mapping[str, str]
    about: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise InvalidStudy(f"--name {self.name}: expected letters, digits, and - or . between them")

    @property
    def page(self) -> Path:
        """The study file."""
        return self.folder / f"prunes-{self.name}.toml"

    @property
    def space(self) -> SpaceRecord:
        """What is left of the network, as a space."""
        about = dict(self.about)
        return SpaceRecord(json_hash({"pruned": about}), "pruned", about)

    def free(self) -> Book:
        """The same book; under a longer name where the name is that of another network's runs, or on other data."""
        try:
            self.check()
        except NasplatError:
            return replace(self, name=f"{self.name}-{json_hash(dict(self.about))[:6]}")
        return self

    def check(self) -> None:
        """Raise where runs cannot be written down here: StoreError or InvalidStudy. Nothing is written."""
        known = self._known()
        if known is not None:
            refuse_changes(self.name, known.config, self._record().config)
        if self.page.exists() and self.page.read_text(encoding="utf-8") != self._text():
            raise InvalidStudy(f"{self.page} is the page of another study: give --name, or another folder")

    def number(self, arch: Arch) -> int | None:
        """The trial of a run that is written down whole; None where there is none."""
        known = self._known()
        if known is None or not self.page.exists():
            return None
        with self._open() as store:
            found = (t for t in store.trials(known.id) if t.arch_key == arch.key and t.state == "complete")
            return next((trial.number for trial in found), None)

    def write(self, arch: Arch, outcome: Outcome, bundle: tuple[Path, str], run: Mapping[str, Any]) -> int:
        """Write a run down, unless it is there already; the number of its trial. bundle: its folder and hash."""
        with self._open(create=True) as store:
            study = store.create_study(self._record())
            number = _told(store, study, arch, outcome)
            path = bundle[0].resolve()
            place = path.relative_to(self.folder) if path.is_relative_to(self.folder) else path
            store.put_artefact(study, "pruned", str(place), bundle[1], dict(run))
        if not self.page.exists():
            write_atomic(self.page, self._text())
        return number

    def _open(self, create: bool = False) -> Store:
        return Store.open(self.url, base=self.folder, create=create)

    def _known(self) -> StudyRecord | None:
        path = self.url.removeprefix("sqlite:///")
        if path != self.url and not (self.folder / path).exists():
            return None
        with self._open() as store:
            return store.find_study(self.name)

    def _record(self) -> StudyRecord:
        return StudyRecord(
            name=self.name,
            directions=list(self.objectives.values()),
            objectives=list(self.objectives),
            space=self.space,
            config={"pruned": dict(self.about), "objectives": dict(self.objectives)},
        )

    def _text(self) -> str:
        page = PAGE.format(file=self.page.name, name=json.dumps(self.name), store=json.dumps(self.url))
        for metric, direction in self.objectives.items():
            page += f'[[objective]]\nmetric = "{metric}"\ndirection = "{direction}"\n'
        for metric in ("macs", "params", "latency"):
            if metric not in self.objectives:
                page += f'[[constraint]]\nmetric = "{metric}"\nmin = 0  # shown beside the objectives, never broken\n'
        return page


def _told(store: Store, study: int, arch: Arch, outcome: Outcome) -> int:
    """A finished trial of the architecture: a new one, or one that a process left behind when it died."""
    store.reap(study)
    store.enqueue(study, Proposal({}, arch.to_json(), arch.key))  # None where it is in the study
    number, state = next((t.number, t.state) for t in store.trials(study) if t.arch_key == arch.key)
    if state == "waiting":
        with store.asking(study, worker_name(), lease_seconds=LEASE) as turn:
            ticket = turn.claim(number)
        store.tell(study, ticket, outcome)
    return number


def objectives(task: tuple[str, str] | None, latency: bool) -> dict[str, str]:
    """What runs are compared by: the task's metric where there is data, and what the target is about."""
    quality = {} if task is None else {task[0]: task[1]}
    return {**quality, "latency" if latency else "macs": "minimize"}


def architecture(widths: Mapping[str, int], words: Mapping[str, str]) -> Arch:
    """What a run left of every group, and which run it was."""
    return Arch({**widths, **{f"run {name}": value for name, value in words.items()}})
