"""Scores of architectures on one device, by this process or by several that share the device."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from nasplat.errors import InvalidStudy, NasplatError
from nasplat.metric import source_hash
from nasplat.scoring import Score, ScoreResult, load_scores, score
from nasplat.space import Arch, Space
from nasplat.study.assembly import Assembly, make_space
from nasplat.study.folder import StudyFolder


@dataclass(frozen=True, slots=True)
class Job:
    """An architecture, and the scores that are asked of it."""

    arch: Arch
    names: tuple[str, ...]


Results = Mapping[str, ScoreResult]


@dataclass(frozen=True, slots=True)
class Scorer:
    """All it takes to score an architecture: inputs (n, ...) and labels (n,) lie on the device where it is done."""

    space: Space
    scores: Mapping[str, Score]
    inputs: Tensor
    labels: Tensor
    seed: int

    def on(self, device: torch.device) -> Scorer:
        """The same on a device."""
        return replace(self, inputs=self.inputs.to(device), labels=self.labels.to(device))

    def __call__(self, job: Job) -> Results:
        """The scores of the untrained network with the weights of the seed, whichever process asks, and when.

        Raises NasplatError for a network that cannot be built, and for a device whose memory is full.
        """
        device = self.inputs.device
        try:
            network = self.space.build(job.arch, self.seed).to(device)
        except NasplatError:
            raise
        except Exception as error:
            raise NasplatError(f"{self._spelled(job)} cannot be built on {device}: {_line(error)}") from error
        with exact(device):
            asked = [self.scores[name] for name in job.names]
            found = score(network, self.inputs, self.labels, asked, seed=self.seed)
        for name, result in found.items():
            if result.reason.startswith("OutOfMemoryError"):  # of the device, not of the network
                raise NasplatError(
                    f"{device} has no memory left for {name} of {self._spelled(job)}: choose fewer workers or a "
                    "smaller batch"
                )
        return found

    def _spelled(self, job: Job) -> str:
        return self.space.notation.spell(job.arch)


@dataclass(frozen=True, slots=True)
class Parcel:
    """A scorer in a form that another process can make it from: `batch` is safetensors of inputs and labels.

    `sources` are the hashes of the space and of the files of the scores, by which the other process sees that it has
    the same ones. threads: of each process on the CPU.
    """

    study: StudyFolder
    space_arguments: Mapping[str, Any]
    names: tuple[str, ...]
    batch: bytes
    seed: int
    device: str
    threads: int
    sources: tuple[str | None, ...]

    def __call__(self) -> Scorer:
        torch.set_num_threads(self.threads)
        space = make_space(self.study, self.space_arguments)
        scores = {entry.name: entry for entry in load_scores(self.names, self.study.folder)}
        if _sources(space, scores) != self.sources:
            raise InvalidStudy(
                "the files of the study have changed since its scores were asked for: ask again"
            )
        batch = load(self.batch)
        return Scorer(space, scores, batch["inputs"], batch["labels"], self.seed).on(
            torch.device(self.device)
        )

    @classmethod
    def of(cls, scorer: Scorer, assembly: Assembly, device: torch.device, workers: int) -> Parcel:
        """The parcel of a scorer that so many processes are to make on a device; they share this one's threads."""
        return cls(
            assembly.study,
            assembly.space_arguments,
            tuple(scorer.scores),
            save({"inputs": scorer.inputs.contiguous(), "labels": scorer.labels.contiguous()}),
            scorer.seed,
            str(device),
            max(1, torch.get_num_threads() // workers),
            _sources(scorer.space, scorer.scores),
        )


def _sources(space: Space, scores: Mapping[str, Score]) -> tuple[str | None, ...]:
    return (space.hash, *(source_hash(entry.function) for entry in scores.values()))


def exact(device: torch.device) -> AbstractContextManager[object]:
    """On a GPU float32 as it is, and convolutions that sum in one order: values that compare, and come again."""
    if device.type == "cpu":
        return nullcontext()
    exact: AbstractContextManager[object] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return exact


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
