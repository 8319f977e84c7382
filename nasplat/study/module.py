"""Scores of one module of the user's, which needs no study."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nasplat.data import load_data
from nasplat.errors import InvalidStudy
from nasplat.measure import pick_device
from nasplat.plugins import load_object
from nasplat.scoring import BATCH, load_scores, score
from nasplat.study.scorer import exact
from nasplat.study.scores import score_names

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Batch:
    """What a module is scored on: the first `size` training inputs of a data set, else random normal inputs.

    shape: of one input, without the batch; classes: labels are drawn among so many.
    """

    data: str | None = None
    shape: tuple[int, ...] = (3, 32, 32)
    classes: int = 10
    size: int = BATCH
    seed: int = 0

    def draw(self) -> tuple[Tensor, Tensor]:
        """Inputs (size, *shape) and labels (size,)."""
        if self.data is not None:
            train = load_data(self.data, base=Path()).train
            return train.inputs[: self.size], train.targets[: self.size]
        generator = torch.Generator().manual_seed(self.seed)
        inputs = torch.randn(self.size, *self.shape, generator=generator)
        return inputs, torch.randint(self.classes, (self.size,), generator=generator)


def score_module(spec: str, names: Sequence[str], batch: Batch, device: str = "cpu") -> pd.DataFrame:
    """A row for each score of the module that `file.py:NAME` or `package.module:NAME` names; this runs its code.

    NAME is a module, or a class or function that makes one without arguments; a copy of it is scored on the device.
    Columns: score, value, direction, seconds, status, reason.
    """
    import pandas as pd

    place = pick_device(device)
    module = load_module(spec, batch.seed)
    inputs, labels = (tensor.to(place) for tensor in batch.draw())
    scores = load_scores(score_names(names))
    with exact(place):
        results = score(copy.deepcopy(module).to(place), inputs, labels, scores, seed=batch.seed)
    rows = [
        (entry.name, found.value, entry.direction, found.seconds, found.status, found.reason)
        for entry, found in zip(scores, results.values(), strict=True)
    ]
    return pd.DataFrame(rows, columns=["score", "value", "direction", "seconds", "status", "reason"])


def load_module(spec: str, seed: int = 0) -> nn.Module:
    """The module that a spec names, with weights drawn from the seed where it is made here."""
    found = load_object(spec, Path())
    if callable(found) and not isinstance(found, nn.Module):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            try:
                found = found()
            except TypeError as error:
                raise InvalidStudy(f"{spec}() cannot be called: {error}") from error
    if not isinstance(found, nn.Module):
        raise InvalidStudy(
            f"{spec} is a {type(found).__name__}: expected an nn.Module, or what makes one without arguments"
        )
    return found
