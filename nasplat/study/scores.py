"""Zero-cost scores of many architectures of a study's space, each computed once and kept in its store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nasplat.errors import InvalidStudy
from nasplat.files import json_hash
from nasplat.metric import Candidate, Metric, Workbench, make_metric
from nasplat.metric.score import measured
from nasplat.plugins import load, names
from nasplat.scoring import BATCH, Score, load_scores, score
from nasplat.space import Arch, Space
from nasplat.store import EvaluationRecord
from nasplat.study.assembly import Assembly, assemble, join_study
from nasplat.study.evaluate import as_record
from nasplat.study.folder import StudyFolder
from nasplat.study.run import Silence, Watcher
from nasplat.study.shelf import Shelf

if TYPE_CHECKING:
    import pandas as pd

DUPLICATES_IN_A_ROW = 1000
"""After so many draws without a new architecture, a space counts as drawn empty."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which scores of which architectures: `samples` random ones, or those of the study's trials.

    names: of score plug-ins; ("all",) for every one. batch: training inputs that each score sees.
    """

    names: tuple[str, ...] = ("all",)
    samples: int = 100
    of_trials: bool = False
    batch: int = BATCH


Found = Mapping[str, EvaluationRecord]
"""The scores of one architecture by name, each with a value or a reason."""


def score_study(study: StudyFolder, question: Question, watcher: Watcher | None = None) -> pd.DataFrame:
    """A row for each architecture: arch_key, name (as the field spells it), a column for each score, and `reasons`.

    A score without a value is NaN, and `reasons` says why. See `scored`.
    """
    import pandas as pd

    assembly = assemble(study)
    found = scored(assembly, question, watcher)
    rows = [_row(assembly.bench.space, arch, scores) for arch, scores in found.items()]
    return pd.DataFrame(rows, columns=["arch_key", "name", *score_names(question.names), "reasons"])


def scored(assembly: Assembly, question: Question, watcher: Watcher | None = None) -> dict[Arch, Found]:
    """The scores of architectures, with the values by module.

    What the store knows is not computed again, and a stop at any moment loses at most one architecture. The networks
    are untrained, with the weights of the study's seed, and scored on the CPU.
    """
    if question.samples < 1:
        raise InvalidStudy(f"samples = {question.samples}: expected at least 1 architecture")
    study, bench, watcher = assembly.study, assembly.bench, watcher or Silence()
    metrics = {name: _metric(name, question.batch, bench, study) for name in score_names(question.names)}
    shelf = join_study(assembly)
    archs = _architectures(bench.space, question, shelf, study.page.study.seed)
    found: dict[Arch, Found] = {}
    for done, arch in enumerate(archs, 1):
        found[arch] = _scores(arch, metrics, question.batch, bench, shelf)
        watcher.trial(done, len(archs), bench.space.notation.spell(arch))
    return found


def score_names(asked: Sequence[str]) -> list[str]:
    """The names of scores; "all" stands for every plug-in that is one."""
    if "all" not in asked:
        return list(dict.fromkeys(asked))
    return [name for name in names("predictors") if isinstance(load("predictors", name), Score)]


def directions(names: Iterable[str], base: Path | None = None) -> dict[str, str]:
    """Which way each score is better; files are relative to `base`, a study's folder.

    A score that is another one by a second name, as az_complexity is macs, is left out: it would count twice.
    """
    distinct = {entry.function: entry for entry in load_scores(list(names), base)}
    return {entry.name: entry.direction for entry in distinct.values()}


def _metric(name: str, batch: int, bench: Workbench, study: StudyFolder) -> Metric:
    """The metric that a page would name: a study's trials find these numbers, and these are found among theirs."""
    return make_metric(f"score:{name}", {"batch": batch}, bench, study.folder)


def _architectures(space: Space, question: Question, shelf: Shelf, seed: int) -> list[Arch]:
    """Those of the trials; else different random ones, all of them where there are no more than asked for."""
    if question.of_trials:
        known = [space.arch(t.arch) for t in shelf.store.trials(shelf.study_id) if t.arch is not None]
        if not known:
            raise InvalidStudy(f"study {shelf.study!r} has no trial yet: run it, or leave out --trials")
        return list(dict.fromkeys(known))
    if space.size <= question.samples:
        return list(space.enumerate())
    return list(islice(_different(space, np.random.default_rng(seed)), question.samples))


def _different(space: Space, rng: np.random.Generator) -> Iterator[Arch]:
    seen: set[Arch] = set()
    misses = 0
    while misses < DUPLICATES_IN_A_ROW:
        arch = space.sample(rng)
        misses = misses + 1 if arch in seen else 0
        if not misses:
            seen.add(arch)
            yield arch


def _scores(
    arch: Arch, metrics: Mapping[str, Metric], batch: int, bench: Workbench, shelf: Shelf
) -> dict[str, EvaluationRecord]:
    """What the store knows of an architecture, and the rest by passes that the missing scores share."""
    store, space = shelf.store, bench.space.hash
    known = (
        (n, store.current(space, arch.key, m.name, json_hash(dict(m.origin)))) for n, m in metrics.items()
    )
    found = {name: record for name, record in known if record is not None}
    missing = [name for name in metrics if name not in found]
    if missing:
        asked = [bench.scores[batch][name] for name in missing]
        inputs, labels = bench.score_inputs(batch)
        network = Candidate(arch, bench).untrained
        for name, result in score(network, inputs, labels, asked, seed=bench.seed).items():
            found[name] = as_record(metrics[name], measured(result))
            store.record(space, arch.to_json(), arch.key, found[name])
    return {name: found[name] for name in metrics}


def _row(space: Space, arch: Arch, found: Found) -> dict[str, Any]:
    values = {name: record.value for name, record in found.items()}
    reasons = [f"{name}: {record.reason}" for name, record in found.items() if record.value is None]
    return {
        "arch_key": arch.key,
        "name": space.notation.spell(arch),
        **values,
        "reasons": "; ".join(reasons),
    }
