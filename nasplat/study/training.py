"""Training a study's supernet alone, by one process or by all that torchrun started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from nasplat.data import evaluate
from nasplat.errors import InvalidStudy
from nasplat.measure import count_params
from nasplat.metric import Workbench
from nasplat.space import Arch
from nasplat.study.assembly import Assembly, assemble, join_study
from nasplat.study.folder import StudyFolder
from nasplat.study.method import Training
from nasplat.study.run import Silence, Watcher
from nasplat.study.shelf import SUPERNET
from nasplat.study.supernet import join_training, ready_supernet
from nasplat.study.team import Team, gathered
from nasplat.supernet.probes.ranks import sampled

RANDOM = 5
"""Random subnets that are judged; the table shows the median of each of their numbers."""


@dataclass(frozen=True, slots=True)
class TrainedSupernet:
    """A trained supernet: its file of weights, whether this call trained it, and what its subnets are worth.

    subnets: a row each for the smallest, a few random and the largest one: parameters, and the task's metric on the
    validation split, judged as a search judges it. Of the random ones each column shows its own median.
    net: the network itself, called as net(x, arch), in evaluation mode on the device of the training.
    """

    path: Path
    content_hash: str
    fresh: bool
    subnets: pd.DataFrame
    net: nn.Module = field(repr=False)


def train_study(
    study: StudyFolder, device: str | None = None, watcher: Watcher | None = None
) -> TrainedSupernet | None:
    """Train the supernet of a study, or find it trained; see `Study.train`."""
    with gathered(device or "auto") as team:
        if not team.leads:
            _follow(study, device, team)
            return None
        with team.led():
            assembly, training = _assemble(study, device)
            shelf = join_study(assembly)
            fresh = ready_supernet(assembly.bench, shelf, training, watcher or Silence(), team)
        found = shelf.find(SUPERNET, training.origin(assembly.bench))
    net = assembly.bench.supernet
    assert found is not None  # it is on the bench
    assert net is not None
    path, row = found
    return TrainedSupernet(path, row.content_hash, fresh, judge_subnets(assembly.bench), net)


def _follow(study: StudyFolder, device: str | None, team: Team) -> None:
    """Train whenever the leader does. Nothing is looked at before: its mistakes are the leader's to tell."""
    for _ in team.calls():
        assembly, training = _assemble(study, device)
        join_training(assembly.bench, training, study.artefacts)


def _assemble(study: StudyFolder, device: str | None) -> tuple[Assembly, Training]:
    assembly = assemble(study, device)
    if assembly.training is None:
        raise InvalidStudy(
            f"study {study.name!r} has no [supernet] table, so there is nothing to train before the search; "
            f"add one, or start it with: nasplat run {study.path}"
        )
    return assembly, assembly.training


def judge_subnets(bench: Workbench) -> pd.DataFrame:
    """The smallest, the median of `RANDOM` random and the largest subnet of the bench's supernet."""
    space = bench.space
    several = sampled(space, RANDOM, bench.seed)
    groups: dict[str, Sequence[Arch]] = {
        "smallest": [space.smallest()],
        f"median of {len(several)} random": several,
        "largest": [space.largest()],
    }
    return pd.DataFrame([{"subnet": name, **_median(bench, archs)} for name, archs in groups.items()])


def _median(bench: Workbench, archs: Sequence[Arch]) -> dict[str, float]:
    data = bench.need_data("accuracy")
    networks = [bench.inherited(arch) for arch in archs]
    scores = [evaluate(network, data.validation, data.task, device=bench.device) for network in networks]
    sizes = [count_params(network) for network in networks]
    return {"params": float(np.median(sizes)), data.task.metric: float(np.median(scores))}
