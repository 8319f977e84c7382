"""The architecture under study and the bench it lies on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from nasplat.data import Dataset, batches, random_inputs
from nasplat.elastic import ElasticSpace, extract, recalibrate
from nasplat.errors import InvalidStudy
from nasplat.scoring import Score, ScoreResult, score
from nasplat.space import Arch, Space

CALIBRATION = 8
"""Batches that rank subnets well enough (Once-for-All calibrates on 2,000 images, arXiv:1908.09791)."""


@dataclass(slots=True)
class Workbench:
    """What all architectures of a study share: space, data, device and, once trained, the supernet.

    A candidate's norms are recalibrated on `calibration_batches` batches of 64 training inputs, which are the same
    for every candidate; with 0 they keep the running statistics that all share. `inherits` says that networks take
    their weights from the supernet. `scores` are those that the study asks for, by the size of their batch and by name.
    """

    space: Space
    data: Dataset | None = None
    device: str = "cpu"
    seed: int = 0
    inherits: bool = False
    supernet: nn.Module | None = None
    supernet_hash: str = ""
    calibration_batches: int = CALIBRATION
    scores: dict[int, dict[str, Score]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.data is not None and self.vocabulary is not None:
            _check_tokens(self.space.name, self.vocabulary, self.data)

    @property
    def vocabulary(self) -> int | None:
        """The number of tokens that the space's networks know; None where their inputs are no tokens."""
        return getattr(self.space, "vocabulary", None)

    def example(self, batch: int = 1) -> Tensor:
        """A batch of inputs, (batch, *input_shape), on the CPU: training inputs where there are any."""
        if self.data is not None:
            repeats = -(-batch // len(self.data.train))
            return self.data.train.inputs[:batch].repeat(repeats, *[1] * len(self.data.input_shape))[:batch]
        if self.space.input_shape is None:
            raise InvalidStudy(
                f"space {self.space.name!r} has no input_shape; give it one, or add a [data] table"
            )
        return random_inputs(batch, self.space.input_shape, self.vocabulary)

    def score_inputs(self, batch: int) -> tuple[Tensor, Tensor]:
        """What scores see: the first training inputs and targets; without data, the example and zeros."""
        if self.data is None:
            return self.example(batch), torch.zeros(batch, dtype=torch.long)
        return self.data.train.inputs[:batch], self.data.train.targets[:batch]

    def need_data(self, metric: str) -> Dataset:
        """The data, for a metric that cannot do without."""
        if self.data is None:
            raise InvalidStudy(f"metric {metric!r} needs data; add a [data] table to the study file")
        return self.data

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The space's own defaults for training; what a user sets goes before them."""
        return self.space.recipe if isinstance(self.space, ElasticSpace) else {}

    def make_supernet(self) -> nn.Module:
        """The space's elastic network with fresh weights, on the CPU."""
        if not isinstance(self.space, ElasticSpace):
            raise InvalidStudy(
                f"space {self.space.name!r} is not elastic, so it has no supernet; remove [supernet]"
            )
        return self.space.supernet(self.seed)

    def inherited(self, arch: Arch) -> nn.Module:
        """The architecture with the supernet's weights, recalibrated unless raw, in eval mode on the device."""
        if self.supernet is None:
            raise InvalidStudy("there is no trained supernet to inherit from; add a [supernet] table")
        module: nn.Module = extract(self.supernet, arch).to(self.device)
        if self.calibration_batches:
            recalibrate(module, self.calibration_inputs())
        return module.eval()

    def calibration_inputs(self) -> list[Tensor]:
        """The fixed training batches that norms are recalibrated on; some also where subnets are not."""
        generator = torch.Generator().manual_seed(self.seed)
        shuffled = batches(self.need_data("accuracy").train, 64, generator=generator, device=self.device)
        return [inputs for inputs, _ in islice(shuffled, self.calibration_batches or CALIBRATION)]


def _check_tokens(space: str, vocabulary: int, data: Dataset) -> None:
    """Raise InvalidStudy for inputs that are no tokens, or not those of the space."""
    for split in (data.train, data.validation, data.test):
        tokens = split.inputs
        if tokens.is_floating_point():
            raise InvalidStudy(
                f"space {space!r} takes tokens (int64), but the inputs of {data.name!r} are floats"
            )
        low, high = (int(bound) for bound in tokens.aminmax())
        if low < 0 or high >= vocabulary:
            raise InvalidStudy(
                f"{data.name!r} has tokens from {low} to {high}, but space {space!r} knows 0 to {vocabulary - 1}: "
                f"give the space as many classes as there are tokens"
            )


@dataclass
class Candidate:
    """One architecture on the bench; its network is built at most once, whatever is asked of it.

    `report(step, value)` passes an intermediate value on, and may end the trial; `alive()` tells other workers that a
    long measurement goes on. `trained` says that `network` has been trained, `unsaved` that its weights are kept
    nowhere else yet. `stored(candidate)` names the scores whose values are known, so that no pass is run for them.
    """

    arch: Arch
    bench: Workbench
    report: Callable[[int, float], None] = field(default=lambda step, value: None)
    alive: Callable[[], None] = field(default=lambda: None)
    stored: Callable[[Candidate], Collection[str]] = field(default=lambda candidate: ())
    trained: bool = False
    unsaved: bool = False
    _scored: dict[int, dict[str, ScoreResult]] = field(default_factory=dict)

    @cached_property
    def network(self) -> nn.Module:
        """An ordinary module on `device`: with inherited weights where there is a supernet, else with fresh ones."""
        return self.bench.inherited(self.arch) if self.bench.inherits else self._fresh().to(self.device)

    @cached_property
    def untrained(self) -> nn.Module:
        """An ordinary module on the CPU with fresh weights, for scores of untrained networks."""
        fresh = not (self.bench.inherits or self.trained) and self.device == "cpu"
        return self.network if fresh else self._fresh()

    def scored(self, batch: int, names: Collection[str]) -> Mapping[str, ScoreResult]:
        """These scores on so many training inputs, with all others that the study asks for and that are not stored.

        They share their passes, which run once.
        """
        known = self._scored.setdefault(batch, {})
        missing = {*names} - known.keys()
        if missing:
            others = self.bench.scores[batch].keys() - known.keys() - {*self.stored(self)}
            wanted = [e for name, e in self.bench.scores[batch].items() if name in missing | others]
            inputs, labels = self.bench.score_inputs(batch)
            known |= score(self.untrained, inputs, labels, wanted, seed=self.bench.seed)
        return known

    @property
    def device(self) -> str:
        """Where `network` is."""
        return self.bench.device

    def restore(self, network: nn.Module) -> None:
        """Take a network that was trained before as this candidate's."""
        self.network = network.to(self.device)
        self.trained = True

    def _fresh(self) -> nn.Module:
        return self.bench.space.build(self.arch, self.bench.seed)

    @property
    def data(self) -> Dataset | None:
        """The study's data, for metrics of the user's own; its test split is not for searching."""
        return self.bench.data


def versions() -> Mapping[str, Any]:
    """The part of an origin that names the software."""
    from nasplat import __version__

    return {"torch": torch.__version__, "nasplat": __version__}
