"""graph_transformer: attention between the operations of a cell, which know where they are by the Laplacian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.prediction import PredictorFactory, Sample
from nasplat.prediction.batching import node_mask
from nasplat.prediction.cells import CellPredictor
from nasplat.prediction.laplacian import eigenvectors, heat_kernels
from nasplat.prediction.losses import LossName, outputs
from nasplat.prediction.neural import Form
from nasplat.prediction.training import Inputs, Recipe

DROPOUT, HEADS, LAYERS = 0.1, 4, 3
TIMES = (0.5, 1.0, 2.0, 4.0)
COORDINATES = 4  # eigenvectors


class Attention(nn.Module):
    """One pre-norm transformer layer whose attention is biased, head by head, by relations of two nodes.

    Shapes: x (n, v, d), relations (n, v, v, r), absent (n, 1, 1, v) True where no node is -> (n, v, d).
    """

    def __init__(self, hidden: int, relations: int) -> None:
        super().__init__()
        self.norm, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.qkv, self.mix = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.bias = nn.Linear(relations, HEADS, bias=False)
        self.up, self.down = nn.Linear(hidden, 2 * hidden), nn.Linear(2 * hidden, hidden)

    def forward(self, x: Tensor, relations: Tensor, absent: Tensor) -> Tensor:
        n, v, d = x.shape
        q, k, value = self.qkv(self.norm(x)).view(n, v, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4)
        weights = q @ k.transpose(2, 3) / (d // HEADS) ** 0.5 + self.bias(relations).permute(0, 3, 1, 2)
        seen = torch.softmax(weights.masked_fill(absent, -1e9), 3) @ value
        x = x + F.dropout(self.mix(seen.transpose(1, 2).reshape(n, v, d)), DROPOUT, self.training)
        return x + F.dropout(self.down(F.gelu(self.up(self.norm2(x)))), DROPOUT, self.training)


class Transformer(nn.Module):
    """Words of operations and places of nodes -> attention layers -> mean over nodes -> scores.

    relations: of two nodes, whether an edge leads from one to the other, and back, and their heat kernels.
    Shapes: operations (n, v, w), adjacency (n, v, v), places (n, v, p), relations (n, v, v, r) -> (n,) or (n, 2).
    """

    def __init__(self, words: int, hidden: int, flips: bool, outputs: int) -> None:
        super().__init__()
        self.flips = flips
        places, relations = (COORDINATES, 2) if flips else (len(TIMES), 2 + len(TIMES))
        self.embedding = nn.Linear(words, hidden, bias=False)
        self.place = nn.Linear(places, hidden)
        self.layers = nn.ModuleList(Attention(hidden, relations) for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(hidden), nn.Linear(hidden, outputs)

    def forward(self, operations: Tensor, places: Tensor, relations: Tensor) -> Tensor:
        mask = node_mask(operations)
        if self.flips and self.training:
            places = places * (2.0 * torch.randint(2, (len(places), 1, places.shape[2])) - 1)
        x = self.embedding(operations) + self.place(places)
        for layer in self.layers:
            x = layer(x, relations, ~mask[:, None, None])
        mean = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        scores: Tensor = self.head(self.norm(mean)).squeeze(-1)
        return scores


class GraphTransformer(CellPredictor):
    """In the spirit of TNASP, with the encodings of arXiv:2012.09699.

    places "heat": diagonals of the heat kernels, and the kernels themselves as biases of the attention, which do
    not depend on the order of nodes. "eigenvectors": as published, with signs drawn at random in training.
    """

    def __init__(
        self,
        *,
        loss: LossName = "hinge",
        places: Literal["heat", "eigenvectors"] = "heat",
        hidden: int = 64,
        steps: int = 500,
        members: int = 3,
    ) -> None:
        known = {"loss": loss, "places": places, "hidden": hidden, "steps": steps, "members": members}
        super().__init__(known, Recipe(loss=loss, steps=steps, members=members))
        if hidden % HEADS:
            raise NasplatError(
                f"hidden = {hidden}: expected a multiple of {HEADS}, the heads of the attention"
            )
        self.places, self.hidden = places, hidden

    def read(self, samples: Sequence[Sample], form: Form) -> Inputs:
        batch = super().read(samples, form)
        a, mask = batch["adjacency"], node_mask(batch["operations"])
        edges = torch.stack([a, a.transpose(1, 2)], 3)
        if self.places == "eigenvectors":
            places, relations = eigenvectors(a, mask, COORDINATES), edges
        else:
            kernels = heat_kernels(a, mask, TIMES)
            places, relations = (
                kernels.diagonal(dim1=1, dim2=2).transpose(1, 2),
                torch.cat([edges, kernels], 3),
            )
        return {"operations": batch["operations"], "places": places, "relations": relations}

    def network(self, form: Form) -> nn.Module:
        flips = self.places == "eigenvectors"
        return Transformer(len(form["words"]), self.hidden, flips, outputs(self.recipe.loss))


PREDICTOR: PredictorFactory = GraphTransformer
