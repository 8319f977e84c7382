"""The set-aware metanetwork: a masked network in, for every unit that is still there how the loss rises without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from nasplat.arguments import check_arguments
from nasplat.channels import ParameterGraph
from nasplat.errors import NasplatError, expected_one_of
from nasplat.metanet.backbones import BACKBONES, BackboneName
from nasplat.metanet.standard import Standard
from nasplat.metanet.state import GraphState
from nasplat.prune.setaware.taylor import FEATURES
from nasplat.prune.setaware.units import Units

FLOOR = 0.3
"""Of the scale of rises, what a unit without any is worth."""


@dataclass(frozen=True, slots=True)
class Body:
    """Sizes of the metanetwork: see `BACKBONES`. taylor: whether it also reads what one backward pass says of every
    neuron, see `taylor_features`; without, weights and the mask are all that it reads."""

    backbone: BackboneName = "edge_gated"
    width: int = 32
    layers: int = 3
    grid: int = 3
    taylor: bool = True

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise NasplatError(
                f"unknown backbone {self.backbone!r}; {expected_one_of(self.backbone, BACKBONES)}"
            )
        if self.width < 4 or self.width % 4 or self.layers < 1 or self.grid < 1:
            raise NasplatError(
                f"{self}: expected a width that is a multiple of 4, and layers and grid from 1"
            )

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """What `asdict` gave; unknown or mistyped sizes are refused by name."""
        return cls(**check_arguments(cls, entry, "the sizes"))

    def as_json(self) -> dict[str, Any]:
        """All sizes as JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MarkedGraph(ParameterGraph):
    """A graph with more to say of its nodes: marks (m, nodes, any)."""

    marks: Tensor


class MarkedEncoder(nn.Module):
    """An encoder of graphs that also reads the marks of their nodes."""

    def __init__(self, encoder: nn.Module, marks: int, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.marks = nn.Sequential(nn.Linear(marks, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, graph: MarkedGraph) -> GraphState:
        state: GraphState = self.encoder(graph)
        return GraphState(state.nodes + self.marks(graph.marks), state.edges, state.joins)


class UnitReadOut(nn.Module):
    """From states of neurons to one number of every unit: mean and largest over its neurons, and their mean over the
    network; with marks, straight past the backbone, those of the unit too."""

    def __init__(self, width: int, marks: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(
            nn.Linear(3 * width + marks, 2 * width),
            nn.SiLU(),
            nn.Linear(2 * width, width),
            nn.SiLU(),
            nn.Linear(width, 1),
        )

    def forward(self, nodes: Tensor, marks: Tensor, units: Units) -> Tensor:
        """nodes (m, nodes, H), marks (m, nodes, any) -> (m, units)."""
        nodes = self.norm(nodes)
        mean, largest = _pooled(nodes, units), _pooled(nodes, units, "amax")
        whole = nodes.mean(1, keepdim=True).expand_as(mean)
        found: Tensor = self.head(torch.cat([mean, largest, whole, _pooled(marks, units)], 2))
        return found.squeeze(2)


class SetAwareNetwork(nn.Module):
    """m masks of one network -> (m, units): asinh of the rise of the loss over `scale`, on the scale that `learn` has
    measured, so that small rises count as much as large ones. Equivariant: permuted channels have permuted rises.
    """

    scale: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body
        marks = 1 + (FEATURES + FEATURES // 2) * body.taylor
        self.standard = Standard()
        self.backbone = BACKBONES[body.backbone](body.width, body.layers, body.grid)
        encoder: Any = self.backbone.encoder
        self.backbone.encoder = MarkedEncoder(encoder, marks, body.width)
        self.read_out = UnitReadOut(body.width, marks)
        for name, value in (("scale", 1.0), ("centre", 0.0), ("spread", 1.0)):
            self.register_buffer(name, torch.tensor(value))

    @torch.no_grad()
    def learn(self, graphs: Iterable[ParameterGraph], rises: Tensor) -> None:
        """Measure what is usual: of networks, and of rises (n,) from any masks."""
        self.standard.learn(graphs)
        self.scale.copy_(rises.abs().median().clamp(min=1e-8))
        self.centre.copy_(torch.asinh(rises / self.scale).mean())
        self.spread.copy_(torch.asinh(rises / self.scale).std().clamp(min=1e-8))

    def targets(self, rises: Tensor) -> Tensor:
        """What is to be predicted for some rises."""
        return (torch.asinh(rises / self.scale) - self.centre) / self.spread

    def worth(self, predicted: Tensor) -> Tensor:
        """What units are worth, in the unit of the loss, see `worth_of`."""
        rises: Tensor = self.scale * torch.sinh(predicted * self.spread + self.centre)
        return worth_of(rises, self.scale)

    def forward(self, graph: ParameterGraph, marks: Tensor, units: Units) -> Tensor:
        """graph: of m masked networks of one form; marks (m, nodes, any): whether a neuron is still there, and what a
        backward pass said of it, see `marks_of`."""
        standard = self.standard(graph)
        state: GraphState = self.backbone(MarkedGraph(standard.structure, standard.tensors, marks))
        found: Tensor = self.read_out(state.nodes, marks, units)
        return found

    def marks_of(self, there: Tensor, features: Tensor) -> Tensor:
        """there (m, nodes), features (m, nodes, FEATURES) in the unit of the loss -> what is read, (m, nodes, marks).

        With the mean a and the root mean square b of a neuron, a + b^2 / 2 is the second order under the Fisher
        information (arXiv:1801.05787); it is read beside them.
        """
        own = there[..., None].float()
        if not self.body.taylor:
            return own
        mean, root = features.chunk(2, -1)
        known = torch.cat([features, mean + root.square() / 2], -1)
        return torch.cat([own, torch.asinh(known / self.scale)], -1)


def worth_of(rises: Tensor, scale: Tensor) -> Tensor:
    """r + sqrt(r^2 + f^2) of a rise r, with f a share of what rises are like: about 2 r for rises, above zero, and the
    smaller the more the loss falls. With a large f all small rises would be worth the same."""
    return rises + (rises.square() + (FLOOR * scale).square()).sqrt()


def _pooled(nodes: Tensor, units: Units, way: str = "mean") -> Tensor:
    """Of neurons (m, nodes, H) by unit, (m, units, H)."""
    held = nodes[:, units.nodes.to(nodes.device)]
    index = units.unit_of.to(nodes.device)
    empty = nodes.new_zeros(len(nodes), len(units), nodes.shape[2])
    if way == "mean":
        count = torch.bincount(index, minlength=len(units)).clamp(min=1)
        return empty.index_add(1, index, held) / count[:, None]
    return empty.scatter_reduce(1, index[:, None].expand_as(held), held, "amax", include_self=False)
