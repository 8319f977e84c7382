"""Data models: the trained networks that a metanetwork learns to rewrite."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn

from nasplat.channels import ChannelSpec, ParameterGraph, channel_spec, named_tensors

Example: TypeAlias = Tensor | tuple[Tensor, ...]
"""Inputs that a network is traced with: (n, ...) or several of these."""


@dataclass(frozen=True, slots=True, eq=False)
class DataModel:
    """A trained network in eval mode, what tracing found of it, and its numbers as a graph."""

    module: nn.Module
    example: tuple[Tensor, ...]
    spec: ChannelSpec
    graph: ParameterGraph


class StandIn(nn.Module):
    """A network with other numbers in place of its own: what losses are asked about. Gradients flow to `graph`."""

    def __init__(self, model: DataModel, graph: ParameterGraph) -> None:
        super().__init__()
        self._model = (model.module,)  # in a tuple, so that its own parameters are not those of this module
        self.graph = graph

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.graph.functional(self._model[0], *args, **kwargs)


def data_model(module: nn.Module, example: Example) -> DataModel:
    """A copy of a network, traced. NasplatError: it cannot be traced."""
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    own = copy.deepcopy(module).eval()
    spec = channel_spec(own, inputs)
    return DataModel(own, inputs, spec, ParameterGraph(spec.structure, named_tensors(own)))


def data_models(networks: Sequence[tuple[nn.Module, Example]]) -> list[DataModel]:
    """All of some networks with their examples; see `data_model`."""
    return [data_model(module, example) for module, example in networks]


def rewritten(model: DataModel, graph: ParameterGraph) -> nn.Module:
    """A new module of the same form with the numbers of a graph, in eval mode."""
    made = copy.deepcopy(model.module)
    graph.write_back(made)
    return made
