"""A trained metanetwork that says what every channel is worth, given which others are gone already."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from nasplat.channels import ChannelSpec
from nasplat.channels.structure import Numbers
from nasplat.errors import NasplatError
from nasplat.prune.costs import Cost
from nasplat.prune.masked import Kept, checked_kept
from nasplat.prune.meta.data_models import DataModel, Example, data_model
from nasplat.prune.prunable import Choice, prunable
from nasplat.prune.scores import Evidence, Loss
from nasplat.prune.setaware.card import SET_AWARE, Card
from nasplat.prune.setaware.examples import rises_of
from nasplat.prune.setaware.lessons import masked_graph
from nasplat.prune.setaware.network import SetAwareNetwork, worth_of
from nasplat.prune.setaware.removal import STEPS, Steps, Values, remove
from nasplat.prune.setaware.taylor import FEATURES, taylor_features
from nasplat.prune.setaware.units import Units
from nasplat.prune.trained import filled
from nasplat.prune.trials import Trials


@dataclass(frozen=True, slots=True, eq=False)
class SetAware:
    """A metanetwork and the card that says what it learned. It is a score of channels, too: call it with evidence.

    One with `card.body.taylor` asks for losses of training data, of which each judgement takes one backward pass.
    """

    network: SetAwareNetwork
    card: Card

    @classmethod
    def load(cls, name: str | Path, base: Path | None = None) -> Self:
        """One that nasplat ships, by name, or a folder, relative to `base`. NasplatError: there is none."""
        tensors, card = SET_AWARE.read(SET_AWARE.find(name, base), Card.from_json)
        return cls(filled(SetAwareNetwork(card.body), tensors, name, card.command), card)

    def save(self, folder: Path) -> None:
        """Write weights and card into a folder."""
        SET_AWARE.write(folder, self.network.state_dict(), self.card.as_json())

    def judge(self, model: DataModel, units: Units, loss: Loss | None = None) -> Judgement:
        """What judges one network again and again: passes on data run where it is, the metanetwork on the CPU.

        DataError: it is outside the family that was learned from.
        """
        self.card.family.check(model.graph)
        if self.card.body.taylor and loss is None:
            raise NasplatError(
                "this metanetwork reads a backward pass on training data: give `loss`, which yields a loss for each "
                "batch, or take one that reads weights only"
            )
        return Judgement(self, replace(model, graph=model.graph.to("cpu")), units, loss)

    def importance(
        self, module: nn.Module, example: Example, kept: Kept | None = None, loss: Loss | None = None
    ) -> Tensor:
        """What every channel is worth once only those in `kept` (channels,) are there, by default all: (channels,)
        float64, in the unit of the loss; 0 for channels that are gone, infinite for those that may not go.
        """
        model = data_model(module, example)
        units = Units.of(model.spec)
        kept = units.whole() if kept is None else checked_kept(model.spec, kept)
        return by_channel(model.spec, units, self.judge(model, units, loss)(kept), kept)

    def __call__(self, evidence: Evidence) -> Tensor:
        """`importance` of the whole network as a score of channels, for `plan_pruning`."""
        return self.importance(evidence.module, evidence.example, loss=evidence.loss)

    def propose(
        self,
        module: nn.Module,
        example: Example,
        cost: Cost,
        limit: float,
        *,
        loss: Loss | None = None,
        steps: Steps = STEPS,
    ) -> Kept:
        """Which channels stay, (channels,), at a cost of at most `limit`: the cheapest few percent go, then the rest is
        judged anew. cost: of what stays, such as `prunable(module, example).macs`. Groups that cannot be cut stay.
        loss: of training data; read by one that takes a backward pass, and to try units, see `Steps`.

        NasplatError: the limit cannot be met; DataError: a network outside the family.
        """
        groups = prunable(module, example, Choice()).groups
        model = data_model(module, example)
        units = Units.of(model.spec, groups)
        judgement = self.judge(model, units, loss)
        return remove(units, judgement, cost, limit, steps, None if loss is None else judgement.tried)


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """One network under a set-aware metanetwork: call it with `kept` (channels,) for the worth of units (units,)."""

    set_aware: SetAware
    model: DataModel
    units: Units
    loss: Loss | None
    _trials: list[Trials] = field(default_factory=list)

    @torch.no_grad()
    def __call__(self, kept: Kept) -> Values:
        network = self.set_aware.network
        graph, there = masked_graph(self.model, kept[None])
        marks = network.marks_of(there, self._features(kept)[None])
        predicted = network(graph, marks, self.units)[0]
        found: Values = network.worth(predicted).double().numpy()
        return found

    def tried(self, kept: Kept, candidates: Numbers) -> Values:
        """What some units are really worth, (candidates,)."""
        if self.loss is None:
            raise NasplatError(
                "units are tried on training data: give `loss`, which yields a loss for each batch"
            )
        if not self._trials:
            norms = self.set_aware.card.walks.norms
            self._trials.append(Trials(self.model.module, self.model.spec, self.loss, norms))
        rises = rises_of(self._trials[0], self.units, kept, candidates)[candidates]
        found: Values = worth_of(torch.from_numpy(rises), self.set_aware.network.scale).numpy()
        return found

    def _features(self, kept: Kept) -> Tensor:
        card = self.set_aware.card
        if self.loss is None or not card.body.taylor:
            return torch.zeros(self.model.spec.structure.nodes, FEATURES)
        return taylor_features(self.model, self.units, kept, self.loss, card.walks.norms)


def by_channel(spec: ChannelSpec, units: Units, worth: Values, kept: Kept) -> Tensor:
    """Worth of units (units,) as an importance of channels, (channels,)."""
    found = np.full(units.total, np.inf)
    for unit, channels in enumerate(units.members):
        found[channels] = np.minimum(found[channels], worth[unit])
    carried = np.zeros(units.total + 1, dtype=bool)
    for slot in spec.slots:
        carried[slot.channels] = True
    found[~kept | ~carried[:-1]] = 0.0
    return torch.from_numpy(found)
