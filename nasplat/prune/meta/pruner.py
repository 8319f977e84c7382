"""A trained metanetwork that prunes: networks in, networks that are easy to prune out."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from nasplat.channels import ParameterGraph
from nasplat.prune.meta.card import PRUNERS, Card
from nasplat.prune.meta.data_models import DataModel, Example, data_model, device_of, rewritten
from nasplat.prune.meta.rewriter import Rewriter
from nasplat.prune.scores import SCORES, Evidence
from nasplat.prune.trained import filled


@dataclass(frozen=True, slots=True, eq=False)
class Pruner:
    """A metanetwork and the card that says what it learned. It is a score of channels, too: call it with evidence.

    The way of arXiv:2506.12041: `rewrite` once, finetune, plan with "l2", apply, finetune. It computes where the
    network is.
    """

    rewriter: Rewriter
    card: Card

    @classmethod
    def load(cls, name: str | Path, base: Path | None = None) -> Self:
        """One that nasplat ships, by name, or a folder, relative to `base`. NasplatError: there is none."""
        tensors, card = PRUNERS.read(PRUNERS.find(name, base), Card.from_json)
        return cls(filled(Rewriter(card.settings), tensors, name, card.command), card)

    def save(self, folder: Path) -> None:
        """Write weights and card into a folder."""
        PRUNERS.write(folder, self.rewriter.state_dict(), self.card.as_json())

    def rewrite(self, module: nn.Module, example: Example) -> nn.Module:
        """A new network of the same form with new numbers; `module` stays as it is.

        DataError: a network outside the family that the metanetwork learned from, see `Family`. Its batch norms keep
        their running statistics; recalibrate them before it is used without finetuning.
        """
        model = data_model(module, example)
        graph = self._rewritten(model)
        return rewritten(model, graph).train(module.training)

    def importance(self, module: nn.Module, example: Example) -> Tensor:
        """The score "l2" of the channels of the rewritten network, (channels,): higher = keep."""
        model = data_model(module, example)
        easy = rewritten(model, self._rewritten(model))
        return SCORES["l2"](Evidence(easy, model.example, model.spec))

    def __call__(self, evidence: Evidence) -> Tensor:
        """`importance` as a score of channels, for `plan_pruning`."""
        return self.importance(evidence.module, evidence.example)

    @torch.no_grad()
    def _rewritten(self, model: DataModel) -> ParameterGraph:
        self.card.family.check(model.graph)
        there, here = device_of(model.module), device_of(self.rewriter)
        rewriter = self.rewriter if there == here else copy.deepcopy(self.rewriter).to(there)
        found: ParameterGraph = rewriter(model.graph)
        return found
