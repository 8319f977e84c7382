"""What predictors of trained networks share: reading their weights, ensembles, units, limits and state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nasplat.data.seeds import derived_seed
from nasplat.errors import NasplatError, expected_one_of
from nasplat.metanet.backbones import BACKBONES, BackboneName
from nasplat.metanet.fitting import Fitting, Loss, fit, judged
from nasplat.metanet.groups import Group, grouped
from nasplat.metanet.invariant import Invariant
from nasplat.metanet.limits import Limits
from nasplat.metanet.readout import Pooling
from nasplat.prediction import Predictor, Sample
from nasplat.prediction.limits import check_numbers
from nasplat.prediction.training import seeded
from nasplat.prediction.weights import weights_of


@dataclass(frozen=True, slots=True)
class Body:
    """A metanetwork's sizes: see `BACKBONES`.

    scales: take hidden scales and signs out first, see `canonical`. poolings: of neurons and weights, layer by layer.
    """

    backbone: BackboneName = "edge_gated"
    width: int = 16
    layers: int = 3
    grid: int = 7
    scales: bool = False
    poolings: tuple[Pooling, ...] = ("mean", "max")

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise NasplatError(
                f"unknown backbone {self.backbone!r}; {expected_one_of(self.backbone, BACKBONES)}"
            )
        if self.width % 4:
            raise NasplatError(f"width = {self.width}: expected a multiple of 4")
        if not self.poolings:
            raise NasplatError("poolings = []: name one or more")

    def network(self, outputs: int) -> Invariant:
        """A new network of that many outputs."""
        backbone = BACKBONES[self.backbone](self.width, self.layers, self.grid)
        return Invariant(backbone, self.width, outputs, self.poolings, self.scales)


class WeightsPredictor(Predictor):
    """An ensemble of metanetworks that differ in their seeds, on any architectures.

    A plug-in says what is learned: targets, loss, outputs, and what outputs mean. Networks that are far larger or
    smaller than those learned from are refused, see `Limits`.

    backbone: what passes messages along weights, or "deep_sets", which passes none. width: of hidden states, a multiple
    of 4. layers: rounds. grid: the largest kernel. epochs, rate, batch: of training, see `Fitting`. members: of the
    ensemble. scales: take out the hidden scales and signs that rectifiers and tanh leave open. poolings: of neurons and
    of weights, layer by layer. reach: how many times larger or smaller than those learned from a network may be.
    """

    needs = frozenset({"weights"})

    def __init__(
        self,
        *,
        backbone: BackboneName = "edge_gated",
        width: int = 16,
        layers: int = 3,
        grid: int = 7,
        epochs: int = 30,
        rate: float = 3e-3,
        batch: int = 64,
        members: int = 1,
        noise: float = 0.0,
        scales: bool = False,
        poolings: Sequence[Pooling] = ("mean", "max"),
        reach: float = 4.0,
    ) -> None:
        self.body = Body(backbone, width, layers, grid, scales, tuple(poolings))
        self.fitting = Fitting(epochs, batch, rate, noise=noise)
        training = {"epochs": epochs, "batch": batch, "rate": rate, "noise": noise}
        self._arguments: dict[str, Any] = asdict(self.body) | {"poolings": list(poolings)} | training
        self._arguments |= {"members": members, "reach": reach}
        check_numbers({name: value for name, value in self._arguments.items() if name != "noise"})
        self._form: dict[str, Any] = {}
        self._members: list[Invariant] = []

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self._arguments)

    @property
    @abstractmethod
    def loss(self) -> Loss:
        """Outputs (m, outputs) and targets (m,) -> a scalar."""

    @abstractmethod
    def learn(self, count: int, targets: ArrayLike) -> tuple[dict[str, Any], Tensor]:
        """What is to be known of the targets of n samples as JSON, with "outputs", and the targets as the loss takes
        them, (n, ...)."""

    def fit(self, samples: Sequence[Sample], targets: ArrayLike, *, seed: int = 0) -> Self:
        form, goals = self.learn(len(samples), targets)
        graphs = weights_of(samples)
        form["limits"] = Limits.of(graphs, self._arguments["reach"]).as_json()
        groups, members = grouped(graphs), []
        for member in range(self._arguments["members"]):
            with seeded(derived_seed(seed, member)):
                network = self.body.network(form["outputs"])
                fit(network, groups, goals, self.loss, self.fitting)
            members.append(network)
        self._form, self._members = form, members
        return self

    def outputs(self, samples: Sequence[Sample]) -> NDArray[np.float64]:
        """What every member says of n samples, (members, n, outputs)."""
        groups = self._read(samples)
        if not groups:
            return np.zeros((len(self._members), 0, self._form["outputs"]))
        return np.stack([judged(member, groups).double().numpy() for member in self._members])

    def embed(self, samples: Sequence[Sample]) -> NDArray[np.float64]:
        """Codes of n networks (n, d), those of all members side by side: networks alike to the predictor are close."""
        groups = self._read(samples)
        if not groups:
            return np.zeros((0, 0))
        return np.concatenate(
            [judged(member.embedded, groups).double().numpy() for member in self._members], 1
        )

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays = {
            f"{i}.{name}": tensor.numpy().copy()
            for i, member in enumerate(self._members)
            for name, tensor in member.state_dict().items()
        }
        return arrays, {"form": self._form, "members": len(self._members)}

    def restore(self, arrays: Mapping[str, NDArray[Any]], rest: Mapping[str, Any]) -> Self:
        self._form, self._members = dict(rest["form"]), []
        for i in range(rest["members"]):
            network = self.body.network(self._form["outputs"])
            start = f"{i}."
            own = {
                k.removeprefix(start): torch.from_numpy(np.array(v))
                for k, v in arrays.items()
                if k.startswith(start)
            }
            network.load_state_dict(own)
            self._members.append(network.eval())
        return self

    def _read(self, samples: Sequence[Sample]) -> list[Group]:
        if not self._members:
            raise NasplatError("the predictor has learned nothing yet: call fit first")
        graphs, limits = weights_of(samples), Limits.from_json(self._form["limits"])
        for sample, graph in zip(samples, graphs, strict=True):
            limits.check(graph, f"architecture {sample.arch.key}")
        return grouped(graphs)
