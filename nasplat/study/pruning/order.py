"""What a person asks for: a network, a target, and how to get there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nasplat.errors import InvalidStudy, expected_one_of
from nasplat.prune import SCORES, PruneSettings
from nasplat.supernet import Recipe

TARGETS = ("speedup", "max_macs", "max_params", "max_latency", "keep_ratio")
"""The targets of `plan_pruning`: one of them is asked for."""

NO_DATA = "no data: not finetuned, and no accuracy is known (give --data)"


@dataclass(frozen=True, slots=True)
class Finetuning:
    """Epochs of stochastic gradient descent with a small rate, cosine to 0.

    epochs: after the pruning. before: after a metanetwork has rewritten the network, before it is pruned; None where
    the metanetwork only scores its channels.
    """

    epochs: int = 0
    before: int | None = None
    learning_rate: float = 0.02
    batch_size: int = 64

    def recipe(self, epochs: int, examples: int) -> Recipe:
        """The recipe of so many epochs on so many examples."""
        size = min(self.batch_size, examples)
        return Recipe(epochs=epochs, batch_size=size, learning_rate=self.learning_rate)


@dataclass(frozen=True, slots=True)
class PruneOrder:
    """What is to be pruned, to what, and how.

    model, weights: see `load_subject`. target: one of TARGETS with its value; latency in milliseconds. score: a name
    in SCORES, l2 unless given. metanet: a folder or name of a trained metanetwork, which scores in place of a name, or
    rewrites the network where `finetuning.before` says so. data: a data set by name, with its arguments. shape: of one
    input, where there is no data. settings: of the plan; its device is where everything is measured and trained.
    """

    model: str
    target: Mapping[str, Any]
    score: str | None = None
    metanet: str | None = None
    weights: Path | None = None
    data: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    finetuning: Finetuning = Finetuning()
    settings: PruneSettings = field(default_factory=PruneSettings)

    def __post_init__(self) -> None:
        _check_target(self.target)
        tuned = self.finetuning
        if self.score is not None and self.score not in SCORES:
            raise InvalidStudy(f"unknown score {self.score!r}; {expected_one_of(self.score, SCORES)}")
        if self.metanet is None and tuned.before is not None:
            raise InvalidStudy("--rewrite is what a metanetwork does: give --metanet, or leave it out")
        if self.metanet is not None and self.score is not None and tuned.before is None:
            raise InvalidStudy(
                "--metanet and --score both score channels: leave one out, or add --rewrite EPOCHS"
            )
        if self.data is not None and self.shape is not None:
            raise InvalidStudy(f"--data {self.data} gives the inputs: leave out --shape")
        if self.data is None and tuned.before is not None:
            raise InvalidStudy(
                "a network that is rewritten needs data for its norms: give --data, or leave out --rewrite"
            )
        if self.data is None and tuned.epochs:
            raise InvalidStudy("finetuning needs data: give --data, or --finetune 0")
        if self.data is None and self.shape is None:
            raise InvalidStudy("what goes into the network? give --data, or --shape such as 3,32,32")

    @property
    def batch(self) -> int:
        """Inputs that run at once where latency is measured."""
        return self.settings.batch or 1

    def as_json(self) -> dict[str, Any]:
        """How the network is pruned, without where it comes from: part of the origin of all that is measured."""
        return {
            "target": dict(self.target),
            "score": self.score or "l2",
            "finetuning": asdict(self.finetuning),
            "settings": {**asdict(self.settings), "keep": list(self.settings.keep)},
        }


def _check_target(target: Mapping[str, Any]) -> None:
    if len(target) != 1 or next(iter(target)) not in TARGETS:
        given = ", ".join(target) or "none"
        raise InvalidStudy(f"targets that were given: {given}; expected exactly one of {', '.join(TARGETS)}")
