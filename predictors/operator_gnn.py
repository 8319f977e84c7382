"""operator_gnn: one graph network for any space, over operations that carry sizes and layer-wise scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.prediction import PredictorFactory, Sample
from nasplat.prediction.batching import Vocabulary, graphs_of, ragged, sparse_batch
from nasplat.prediction.columns import as_json, from_json, scaled, scales_of, table
from nasplat.prediction.losses import LossName, outputs
from nasplat.prediction.neural import Form, NeuralPredictor
from nasplat.prediction.nodes import node_rows
from nasplat.prediction.training import Inputs, Recipe

DROPOUT = 0.1
PARTS = ("words", "numbers", "wholes")
"""What a network has columns for: words of nodes, numbers of nodes, numbers of whole graphs."""


class Gnn(nn.Module):
    """Operations gate what flows along edges and against them; all nodes and the two ends of the graph are read.

    Shapes: operations (n, v, w), numbers (n, v, 2 f), sources and targets (n, e) with v for no edge,
    wholes (n, 2 g) -> (n,), or (n, 2) for two outputs.
    """

    def __init__(self, columns: Mapping[str, int], hidden: int, rounds: int, outputs: int) -> None:
        super().__init__()
        self.words = nn.Linear(columns["words"], hidden, bias=False)
        self.numbers = nn.Linear(2 * columns["numbers"], hidden)
        self.wholes = nn.Linear(2 * columns["wholes"], hidden)
        self.rounds = nn.ModuleList(Round(hidden) for _ in range(rounds))
        self.head = nn.Sequential(
            nn.Linear(5 * hidden, hidden), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(hidden, outputs)
        )

    def forward(
        self, operations: Tensor, numbers: Tensor, sources: Tensor, targets: Tensor, wholes: Tensor
    ) -> Tensor:
        mask = operations.sum(-1, keepdim=True)
        links = _Links(sources, targets, operations.shape[1])
        x = what = self.words(operations) + self.numbers(numbers)
        for step in self.rounds:
            x = step(x, what, links)
        first, last = (mask * (degrees == 0) for degrees in links.degrees())
        total = (x * mask).sum(1)
        nodes = mask.sum(1)
        code = [total / nodes, total / nodes.sqrt(), _mean(x, first), _mean(x, last), self.wholes(wholes)]
        scores: Tensor = self.head(torch.cat(code, 1)).squeeze(-1)
        return scores


class Round(nn.Module):
    """What predecessors and successors send, gated by the operation that it meets, changes a node.

    Shapes: x and what (n, v, d) -> (n, v, d).
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.send = nn.Linear(hidden, 2 * hidden, bias=False)
        self.gate = nn.Linear(hidden, 2 * hidden)
        self.mix = nn.Linear(3 * hidden, hidden)

    def forward(self, x: Tensor, what: Tensor, links: _Links) -> Tensor:
        h = self.norm(x)
        gated = torch.sigmoid(self.gate(what)) * links.passed(self.send(h))
        return x + F.dropout(F.relu(self.mix(torch.cat([h, gated], 2))), DROPOUT, self.training)


class _Links:
    """The edges of a batch, as numbers of rows of nodes; each graph has one row more, for edges that are none."""

    def __init__(self, sources: Tensor, targets: Tensor, v: int) -> None:
        rows = torch.arange(len(sources))[:, None] * (v + 1)
        self.sources, self.targets = (sources + rows).flatten(), (targets + rows).flatten()
        self.shape = (len(sources), v + 1)

    def passed(self, values: Tensor) -> Tensor:
        """Sums over predecessors of the first half of values (n, v, 2 d), over successors of the second."""
        rows = F.pad(values, (0, 0, 0, 1)).flatten(0, 1)
        forth, back = rows.chunk(2, 1)
        ends = ((self.targets, forth[self.sources]), (self.sources, back[self.targets]))
        sums = [torch.zeros_like(forth).index_add_(0, places, sent) for places, sent in ends]
        return torch.cat(sums, 1).view(*self.shape, -1)[:, :-1]

    def degrees(self) -> tuple[Tensor, Tensor]:
        """Edges to, and from, each node, (n, v, 1) both."""
        size = self.shape[0] * self.shape[1]
        counts = (
            torch.bincount(ends, minlength=size).view(self.shape) for ends in (self.targets, self.sources)
        )
        to, off = (count[:, :-1, None] for count in counts)
        return to, off


def _mean(x: Tensor, weights: Tensor) -> Tensor:
    return (x * weights).sum(1) / weights.sum(1).clamp(min=1)


class OperatorGnn(NeuralPredictor):
    """One model for cells, whole networks by `operator_graph`, and cells of graph networks.

    A node is its word, the features of its graph, the layer-wise scores of its module, its depth and its height; a
    graph has its number of nodes and the scores of the sample. What a sample lacks is marked as absent; what all
    samples of a fit had must be there later. Operations gate flows as in GATES (arXiv:2004.01899), in both
    directions; the rest is ours. warm: a second `fit` goes on from the weights of the first, on samples of any space:
    numbers and targets are scaled by the new pool, words and columns unknown before are added, and predictions
    are then for the kind of the new pool.
    """

    needs = frozenset({"graph", "scores", "layers"})

    def __init__(
        self,
        *,
        loss: LossName = "hinge",
        hidden: int = 32,
        rounds: int = 4,
        steps: int = 800,
        members: int = 3,
        warm: bool = False,
    ) -> None:
        shared: dict[str, Any] = {"loss": loss, "steps": steps, "members": members}
        super().__init__(shared | {"hidden": hidden, "rounds": rounds, "warm": warm}, Recipe(**shared))
        self.hidden, self.rounds, self.warm = hidden, rounds, warm

    def learn(self, samples: Sequence[Sample]) -> Form:
        graphs = graphs_of(samples)
        known = self._form if self.warm else {}
        numbers = scales_of(
            row for s, g in zip(samples, graphs, strict=True) for row in node_rows(g, s.layers)
        )
        return {
            "words": list(Vocabulary.of(graphs, known.get("words", ())).words),
            "numbers": {**known.get("numbers", {}), **as_json(numbers)},
            "wholes": {**known.get("wholes", {}), **as_json(scales_of(map(_whole, samples)))},
            "required": sorted(set.intersection(*map(_had, samples))),
        }

    def read(self, samples: Sequence[Sample], form: Form) -> Inputs:
        graphs = graphs_of(samples)
        _refuse_without(form["required"], samples)
        batch = sparse_batch(graphs, Vocabulary(tuple(form["words"])))
        numbers, wholes = from_json(form["numbers"]), from_json(form["wholes"])
        known = [row for s, g in zip(samples, graphs, strict=True) for row in node_rows(g, s.layers)]
        padded = torch.zeros(*batch["operations"].shape[:2], 2 * len(numbers))
        padded[ragged([len(g.operations) for g in graphs])] = torch.from_numpy(
            scaled(table(known, list(numbers)), numbers)
        )
        whole = scaled(table([_whole(sample) for sample in samples], list(wholes)), wholes)
        return batch | {"numbers": padded, "wholes": torch.from_numpy(whole)}

    def network(self, form: Form) -> nn.Module:
        columns = {part: len(form[part]) for part in PARTS}
        return Gnn(columns, self.hidden, self.rounds, outputs(self.recipe.loss))

    def start(self, form: Form, member: int) -> nn.Module:
        network = self.network(form)
        if self.warm and self._members:
            network.load_state_dict(_grown(self._members[member].state_dict(), network.state_dict()))
        return network


def _whole(sample: Sample) -> dict[str, float]:
    """Numbers of a whole graph."""
    nodes = len(sample.graph.operations) if sample.graph else 1
    return {"log_nodes": math.log(nodes)} | {f"score {name}": value for name, value in sample.scores.items()}


def _had(sample: Sample) -> set[str]:
    """What a sample has of what others may lack: scores that were computed, with a value or without."""
    features = sample.graph.feature_names if sample.graph else ()
    return {
        *(f"feature {name} in its graph" for name in features),
        *(f"layer-wise score {name}" for name in sample.layers),
        *(f"score {name}" for name in sample.scores),
    }


def _refuse_without(required: Sequence[str], samples: Sequence[Sample]) -> None:
    for sample in samples:
        missing = sorted(set(required) - _had(sample))
        if missing:
            raise NasplatError(
                f"architecture {sample.arch.key} has no {missing[0]}, which the predictor learned from: "
                "compute it, or fit without it"
            )


def _grown(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Old weights; columns for new words stay as they were drawn, those for new numbers begin at zero."""
    grown = {name: tensor.clone() for name, tensor in old.items()}
    for part in PARTS:
        known, fresh = old[f"{part}.weight"], new[f"{part}.weight"].clone()
        if part != "words":
            fresh[:, known.shape[1] :] = 0
        fresh[:, : known.shape[1]] = known
        grown[f"{part}.weight"] = fresh
    return grown


PREDICTOR: PredictorFactory = OperatorGnn
