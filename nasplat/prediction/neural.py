"""What all neural predictors share: ensembles, units, seeds and state. A plug-in adds what it reads and a network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from nasplat.data.seeds import derived_seed
from nasplat.errors import NasplatError
from nasplat.prediction.limits import check_numbers
from nasplat.prediction.losses import scores_of
from nasplat.prediction.normal import checked_targets
from nasplat.prediction.predictor import Prediction, Predictor
from nasplat.prediction.sample import Sample
from nasplat.prediction.training import Inputs, Recipe, seeded, train

Form: TypeAlias = dict[str, Any]
"""What reading and network need to know of the samples that were learned from, as JSON: words, columns, scales."""

BATCH = 2048
"""Samples that are judged at once."""


class NeuralPredictor(Predictor):
    """An ensemble of networks that differ in their seeds: mean and standard deviation of their predictions.

    Targets are standardised. Losses that know no unit (all but "mse") are followed by a line for each member, which
    gives its scores of the training samples the mean and deviation of their targets. Equal targets are predicted for
    all. One member has deviation 0.
    """

    def __init__(self, arguments: dict[str, Any], recipe: Recipe) -> None:
        check_numbers(arguments)
        self._arguments, self.recipe = arguments, recipe
        self._form: Form = {}
        self._members: list[nn.Module] = []
        self._lines = np.zeros((0, 2))  # of each member, from scores to targets: offset and slope

    @abstractmethod
    def learn(self, samples: Sequence[Sample]) -> Form:
        """All that reading needs to know of the training samples."""

    @abstractmethod
    def read(self, samples: Sequence[Sample], form: Form) -> Inputs:
        """Samples as inputs of the network; NasplatError for those that it was not trained for."""

    @abstractmethod
    def network(self, form: Form) -> nn.Module:
        """A new network, called as network(**inputs): outputs (n,) or (n, 2), as its loss takes them."""

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self._arguments)

    def fit(self, samples: Sequence[Sample], targets: ArrayLike, *, seed: int = 0) -> Self:
        y = checked_targets(len(samples), targets)
        form = self.learn(samples)
        inputs = self.read(samples, form)
        centre, scale = float(y.mean()), float(y.std())
        standard = torch.from_numpy((y - centre) / (scale or 1.0)).float()
        members, lines = [], []
        for member in range(self.recipe.members):
            with seeded(derived_seed(seed, member)):
                network = self.start(form, member)
                train(network, inputs, standard, self.recipe)
            offset, slope = self._line(network, inputs)
            members.append(network)
            lines.append((centre + scale * offset, scale * slope))
        self._form, self._members, self._lines = form, members, np.array(lines)
        return self

    def start(self, form: Form, member: int) -> nn.Module:
        """The network that training of a member starts from."""
        return self.network(form)

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        if not self._members:
            raise NasplatError("the predictor has learned nothing yet: call fit first")
        parts = [
            self._judge(self.read(samples[i : i + BATCH], self._form)) for i in range(0, len(samples), BATCH)
        ]
        each = np.concatenate(parts, axis=1) if parts else np.zeros((len(self._members), 0))
        spread = each.std(0, ddof=1) if len(each) > 1 else np.zeros(each.shape[1])
        return Prediction(each.mean(0), spread)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays = {
            f"{i}.{name}": tensor.numpy().copy()
            for i, member in enumerate(self._members)
            for name, tensor in member.state_dict().items()
        }
        return arrays | {"lines": self._lines}, {"form": self._form}

    def restore(self, arrays: Mapping[str, NDArray[Any]], rest: Mapping[str, Any]) -> Self:
        self._form, self._lines = dict(rest["form"]), np.array(arrays["lines"])
        self._members = []
        for i in range(len(self._lines)):
            own = {
                name.removeprefix(f"{i}."): torch.from_numpy(np.array(array))
                for name, array in arrays.items()
                if name.startswith(f"{i}.")
            }
            network = self.network(self._form)
            network.load_state_dict(own)
            self._members.append(network.eval())
        return self

    def _line(self, network: nn.Module, inputs: Inputs) -> tuple[float, float]:
        """Offset and slope from a member's scores to standardised targets."""
        if self.recipe.loss == "mse":
            return 0.0, 1.0
        scores = _scores(network, inputs)
        slope = 1.0 / (float(scores.std()) or 1.0)
        return -slope * float(scores.mean()), slope

    def _judge(self, inputs: Inputs) -> NDArray[np.float64]:
        """Predictions of every member in the unit of the targets, (members, n)."""
        scores = np.stack([_scores(member, inputs) for member in self._members])
        return self._lines[:, :1] + self._lines[:, 1:] * scores


@torch.no_grad()
def _scores(network: nn.Module, inputs: Inputs) -> NDArray[np.float64]:
    scores: Tensor = scores_of(network(**inputs))
    return scores.double().numpy()
