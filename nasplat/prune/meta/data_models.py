"""Data models: the trained networks that a metanetwork learns to rewrite."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
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

    @property
    def device(self) -> torch.device:
        """Where its numbers are."""
        return next((tensor.device for tensor in self.graph.tensors.values()), torch.device("cpu"))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.graph.functional(self._module[0], *args, **kwargs)


def device_of(module: nn.Module) -> torch.device:
    """Where a network computes, and its inputs belong."""
    if isinstance(module, StandIn):
        return module.device
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


def data_model(
    module: nn.Module, example: Example, *, cut: bool = False, device: torch.device | None = None
) -> DataModel:
    """A copy of a network, traced where it is, and then on a device, if one is given; with what cuts it, if that is
    asked for. NasplatError: it cannot be traced."""
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    own = copy.deepcopy(module).eval()
    spec, cutter = channel_spec(own, inputs), cutter_of(own, inputs, device) if cut else None
    if device is not None:
        own, inputs = own.to(device), tuple(one.to(device) for one in inputs)
    return DataModel(own, inputs, spec, ParameterGraph(spec.structure, named_tensors(own)), cutter)


def data_models(
    networks: Sequence[tuple[nn.Module, Example]], cut: bool = False, device: torch.device | None = None
) -> list[DataModel]:
    """All of some networks with their examples, see `data_model`."""
    return [data_model(module, example, cut=cut, device=device) for module, example in networks]


def rewritten(model: DataModel, graph: ParameterGraph) -> nn.Module:
    """A new module of the same form with the numbers of a graph, in eval mode."""
    made = copy.deepcopy(model.module)
    graph.write_back(made)
    return made
