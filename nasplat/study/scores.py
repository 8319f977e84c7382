"""Zero-cost scores of many architectures of a study's space, each computed once and kept in its store."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nasplat.errors import InvalidStudy
from nasplat.measure import device_info, pick_device
from nasplat.metric import Metric, make_metric
from nasplat.plugins import load, names
from nasplat.scoring import BATCH, Score, load_scores
from nasplat.space import Arch, Space
from nasplat.study.assembly import Assembly, assemble, join_study
from nasplat.study.folder import StudyFolder
from nasplat.study.run import Silence, Watcher
from nasplat.study.scorebook import Book, Found
from nasplat.study.scorer import Job, Parcel, Results, Scorer
from nasplat.study.shelf import Shelf
from nasplat.study.together import together

if TYPE_CHECKING:
    import pandas as pd

DUPLICATES_IN_A_ROW = 1000
"""After so many draws without a new architecture, a space counts as drawn empty."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which scores of which architectures: `samples` random ones, or those of the study's trials.

    names: of score plug-ins; ("all",) for every one. batch: training inputs that each score sees. device: where, as
    "cpu" or "cuda:0"; workers: processes that score at once there.
    """

    names: tuple[str, ...] = ("all",)
    samples: int = 100
    of_trials: bool = False
    batch: int = BATCH
    device: str = "cpu"
    workers: int = 1


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

    What the store knows is not computed again; what comes is stored at once, so a stop at any moment loses what the
    workers have in their hands. The networks are untrained, with the weights of the study's seed. A GPU's numbers have
    an origin of their own: trials, which ask for those of the CPU, do not find them. Raises NasplatError for a device
    that is not here and for a worker that dies.
    """
    if question.samples < 1:
        raise InvalidStudy(f"samples = {question.samples}: expected at least 1 architecture")
    if question.workers < 1:
        raise InvalidStudy(f"workers = {question.workers}: expected at least 1 process")
    device = pick_device(question.device)
    metrics = {name: _metric(name, question.batch, device, assembly) for name in score_names(question.names)}
    shelf = join_study(assembly)
    archs = _architectures(assembly.bench.space, question, shelf, assembly.study.page.study.seed)
    book = Book(assembly.bench.space, metrics, shelf, watcher or Silence(), len(archs))
    with closing(_answers(assembly, question, device, book.missing(archs))) as answers:
        for job, results in answers:
            book.keep(job, results)
    return {arch: book.found[arch] for arch in archs}


Answers = Generator[tuple[Job, Results], None, None]


def _answers(assembly: Assembly, question: Question, device: torch.device, jobs: Iterable[Job]) -> Answers:
    """Each job with its scores: one by one here, or as they come from several processes."""
    bench, workers = assembly.bench, question.workers
    scores = {name: bench.scores[question.batch][name] for name in score_names(question.names)}
    scorer = Scorer(bench.space, scores, *bench.score_inputs(question.batch), bench.seed)
    if workers == 1:
        scorer = scorer.on(device)
        yield from ((job, scorer(job)) for job in jobs)
    else:
        parcel = Parcel.of(scorer, assembly, device, workers)
        yield from together(parcel, jobs, workers)


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


def _metric(name: str, batch: int, device: torch.device, assembly: Assembly) -> Metric:
    """The metric that a page would name: a study's trials find these numbers, and these are found among theirs.

    On a GPU sums have another order, so its numbers have its name in their origin.
    """
    metric = make_metric(f"score:{name}", {"batch": batch}, assembly.bench, assembly.study.folder)
    if device.type == "cpu":
        return metric
    return replace(metric, origin={**metric.origin, "device": device_info(device).name})


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


def _row(space: Space, arch: Arch, found: Found) -> dict[str, Any]:
    values = {name: record.value for name, record in found.items()}
    reasons = [f"{name}: {record.reason}" for name, record in found.items() if record.value is None]
    return {
        "arch_key": arch.key,
        "name": space.notation.spell(arch),
        **values,
        "reasons": "; ".join(reasons),
    }
