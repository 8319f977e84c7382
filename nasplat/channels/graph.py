"""A network's parameters as a graph, exactly and reversibly."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from nasplat.channels.structure import COLUMNS, DEFAULTS, SIDES, GraphStructure, Numbers, Vector
from nasplat.errors import NasplatError, expected_one_of

if TYPE_CHECKING:
    from networkx import MultiDiGraph
    from torch_geometric.data import Data

Form = Literal["kernels", "multigraph"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ParameterGraph:
    """A structure and the tensors that fill it, by name: each (*batch, *shape), the batch being networks of one form.

    Nothing is copied: the tensors are those of the module, and edges are views of them.
    """

    structure: GraphStructure
    tensors: Mapping[str, Tensor]

    def __repr__(self) -> str:
        form = self.structure
        batch = f", batch {self.batch}" if self.batch else ""
        return f"ParameterGraph({form.nodes:,} nodes, {form.edges:,} edges, {len(form.neurons)} rows{batch})"

    @property
    def batch(self) -> tuple[int, ...]:
        """The shape in front of every tensor: () for one network, (m,) for m networks of one form."""
        for name, shape in self.structure.shapes.items():
            tensor = self.tensors[name]
            return tuple(tensor.shape[: tensor.ndim - len(shape)])
        return ()

    @property
    def features(self) -> Tensor:
        """The node features (*batch, nodes, 10): COLUMNS of the first side, then of the second."""
        like = next((t for t in self.tensors.values() if t.is_floating_point()), torch.empty(0))
        size = SIDES * len(COLUMNS)
        nodes = torch.tensor(DEFAULTS * SIDES, dtype=like.dtype, device=like.device)
        nodes = nodes.repeat(*self.batch, self.structure.nodes)
        if self.structure.vectors:
            parts = [self.tensors[v.parameter].reshape(*self.batch, -1) for v in self.structure.vectors]
            index = torch.from_numpy(_places(self.structure)).to(like.device)
            nodes = nodes.index_copy(-1, index, torch.cat(parts, -1).to(like.dtype))
        return nodes.reshape(*self.batch, self.structure.nodes, size)

    @property
    def edges(self) -> list[Tensor]:
        """The weights of every block, (*batch, g, o, i, k), in the order of `structure.blocks`."""
        return [block.view(self.tensors[block.parameter]) for block in self.structure.blocks]

    def replace(
        self, features: Tensor, edges: Sequence[Tensor], keep: Collection[str] = ()
    ) -> ParameterGraph:
        """The graph with other node features (*batch, nodes, 10) and edges; what is in neither stays, and so do the
        columns to keep, such as ("mean", "variance"). Each tensor keeps its type; gradients flow through. A batch of
        features and edges for one network gives a batch of networks. NasplatError: sizes of another graph.
        """
        self._check_sizes(features, edges)
        shapes, front = self.structure.shapes, features.shape[:-2]
        tensors = dict(self.tensors)
        if front != self.batch:
            tensors = {name: tensors[name].expand(*front, *shape) for name, shape in shapes.items()}
        for block, values in zip(self.structure.blocks, edges, strict=True):
            name = block.parameter
            tensors[name] = block.unview(values, shapes[name]).to(self.tensors[name].dtype)
        index = torch.from_numpy(_places(self.structure)).to(features.device)
        flat = features.reshape(*front, -1)[..., index]
        sizes = [len(vector.nodes) for vector in self.structure.vectors]
        for vector, values in zip(self.structure.vectors, torch.split(flat, sizes, -1), strict=True):
            name = vector.parameter
            if vector.column not in keep:
                values = values.reshape(*values.shape[:-1], *shapes[name])
                tensors[name] = values.to(self.tensors[name].dtype)
        return ParameterGraph(self.structure, tensors)

    def _check_sizes(self, features: Tensor, edges: Sequence[Tensor]) -> None:
        """NasplatError: features or edges that are not of this form."""
        given = [tuple(features.shape[-2:]), *(tuple(one.shape[-4:]) for one in edges)]
        wanted = [(self.structure.nodes, SIDES * len(COLUMNS)), *(b.shape for b in self.structure.blocks)]
        for place, (one, other) in enumerate(zip_longest(given, wanted)):
            if one != other:
                what = f"edges[{place - 1}]" if place else "features"
                said = f"{what} end in {one or 'nothing'}, those of this graph in {other or 'nothing'}"
                raise NasplatError(f"{said}; give such as `graph.{what}`")

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ParameterGraph:
        """The graph on another device or with floats of another type; counters keep their type."""
        tensors = {
            name: tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
            for name, tensor in self.tensors.items()
        }
        return ParameterGraph(self.structure, tensors)

    def functional(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """What `module` gives with the tensors of this graph in place of its own.

        Gradients flow to those that are parameters of the module; running statistics and other buffers are constants,
        as they are to the layers that use them. With a batch (m,), every network sees the same inputs and outputs are
        (m, ...).
        """
        from nasplat.channels.writing import call

        return call(module, self, args, kwargs)

    def write_back(self, module: nn.Module) -> None:
        """Copy every tensor into the module that the graph came from, or one of the same form.

        NasplatError: another module, a batch, a value that is not finite; nothing is changed then.
        """
        from nasplat.channels.writing import write_back

        write_back(self, module)

    def to_pyg(self, form: Form = "kernels") -> Data:
        """The graph as flat lists of edges, see `nasplat.channels.flat`; `replace_from` is the inverse.

        form: "kernels", one edge with a whole kernel for two neurons; "multigraph", every parameter an edge.
        """
        from nasplat.channels import flat, multigraph

        forms = {"kernels": flat.to_pyg, "multigraph": multigraph.to_pyg}
        if form not in forms:
            raise NasplatError(f"unknown form {form!r}; {expected_one_of(form, forms)}")
        return forms[form](self)

    def replace_from(self, data: Data) -> ParameterGraph:
        """The graph with the numbers of a `Data` that `to_pyg` gave, edges in that order; gradients flow through."""
        from nasplat.channels import flat, multigraph

        if "edge_place" in data:
            return multigraph.replace_from(self, data)
        return flat.replace_from(self, data)

    def to_networkx(self, rows: bool = False) -> MultiDiGraph:
        """The graph for reading and drawing: a node for each neuron, or for each row of neurons."""
        from nasplat.channels import readable

        return readable.rows(self) if rows else readable.neurons(self)


def feature_names() -> list[str]:
    """What the 10 node features are called: "bias" to "variance", then "bias_2" to "variance_2"."""
    return [name + (f"_{side + 1}" if side else "") for side in range(SIDES) for name in COLUMNS]


@lru_cache(maxsize=256)
def _places(structure: GraphStructure) -> Numbers:
    """Where every element of every vector stands among the flattened node features.

    Numbers, not a tensor: one that was made in inference mode or on another device would outlive it here.
    """
    return np.concatenate([_place(vector) for vector in structure.vectors] or [np.empty(0, np.int64)])


def _place(vector: Vector) -> Numbers:
    return vector.nodes * (SIDES * len(COLUMNS)) + vector.feature
