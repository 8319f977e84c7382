"""Data models: the trained networks that a metanetwork learns to rewrite."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from torch import Tensor, nn

from nasplat.channels import ChannelSpec, ParameterGraph, channel_spec, named_tensors
from nasplat.prune.meta.cutter import Cutter, cutter_of

Example: TypeAlias = Tensor | tuple[Tensor, ...]
"""Inputs that a network is traced with: (n, ...) or several of these."""


@dataclass(frozen=True, slots=True, eq=False)
class DataModel:
    """A trained network in eval mode, what tracing found of it, and its numbers as a graph; and what cuts it, where
    training looks at that."""

    module: nn.Module
    example: tuple[Tensor, ...]
    spec: ChannelSpec
    graph: ParameterGraph
    cutter: Cutter | None = None


class StandIn(nn.Module):
    """A network with other numbers in place of its own: what losses are asked about. Gradients flow to `graph`."""

    def __init__(self, module: nn.Module, graph: ParameterGraph) -> None:
        super().__init__()
        self._module = (module,)  # in a tuple, so that its own parameters are not those of this module
        self.graph = graph

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.graph.functional(self._module[0], *args, **kwargs)


def data_model(module: nn.Module, example: Example) -> DataModel:
    """A copy of a network, traced. NasplatError: it cannot be traced."""
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    own = copy.deepcopy(module).eval()
    spec = channel_spec(own, inputs)
    return DataModel(own, inputs, spec, ParameterGraph(spec.structure, named_tensors(own)))


def data_models(networks: Sequence[tuple[nn.Module, Example]], cut: bool = False) -> list[DataModel]:
    """All of some networks with their examples, with what cuts them where it is asked for; see `data_model`."""
    models = [data_model(module, example) for module, example in networks]
    return [replace(m, cutter=cutter_of(m.module, m.example)) for m in models] if cut else models


def rewritten(model: DataModel, graph: ParameterGraph) -> nn.Module:
    """A new module of the same form with the numbers of a graph, in eval mode."""
    made = copy.deepcopy(model.module)
    graph.write_back(made)
    return made
