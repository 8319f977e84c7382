"""A network's parameters as a graph, exactly and reversibly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nasplat.channels.structure import COLUMNS, DEFAULTS, SIDES, GraphStructure


@dataclass(frozen=True, slots=True, eq=False)
class ParameterGraph:
    """A structure and the tensors that fill it, by name: each (*batch, *shape), the batch being networks of one form.

    Nothing is copied: the tensors are those of the module, and edges are views of them.
    """

    structure: GraphStructure
    tensors: Mapping[str, Tensor]

    @property
    def batch(self) -> tuple[int, ...]:
        """The shape in front of every tensor: () for one network, (m,) for m networks of one form."""
        name, shape = next(iter(self.structure.shapes.items()))
        tensor = self.tensors[name]
        return tuple(tensor.shape[: tensor.ndim - len(shape)])

    @property
    def features(self) -> Tensor:
        """The node features (*batch, nodes, 10): COLUMNS of the first side, then of the second."""
        like = next(t for t in self.tensors.values() if t.is_floating_point())
        defaults = torch.tensor(DEFAULTS * SIDES, dtype=like.dtype, device=like.device)
        nodes = defaults.expand(*self.batch, self.structure.nodes, SIDES * len(COLUMNS)).clone()
        for vector in self.structure.vectors:
            values = self.tensors[vector.parameter].reshape(*self.batch, -1)
            nodes[..., torch.from_numpy(vector.nodes).to(like.device), vector.feature] = values
        return nodes

    @property
    def edges(self) -> list[Tensor]:
        """The weights of every block, (*batch, g, o, i, k), in the order of `structure.blocks`."""
        return [block.view(self.tensors[block.parameter]) for block in self.structure.blocks]

    def replace(self, features: Tensor, edges: Sequence[Tensor]) -> ParameterGraph:
        """The graph with other node features and edges; what is in neither stays. Gradients flow through."""
        tensors = dict(self.tensors)
        for block, values in zip(self.structure.blocks, edges, strict=True):
            tensors[block.parameter] = block.unview(values, self.structure.shapes[block.parameter])
        for vector in self.structure.vectors:
            shape = self.structure.shapes[vector.parameter]
            values = features[..., torch.from_numpy(vector.nodes).to(features.device), vector.feature]
            tensors[vector.parameter] = values.reshape(*self.batch, *shape)
        return ParameterGraph(self.structure, tensors)
