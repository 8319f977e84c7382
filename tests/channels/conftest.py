"""The networks of `architectures`, traced once each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
from torch import Tensor, nn

from nasplat.channels import ChannelSpec, ParameterGraph, channel_spec

from .architectures import ALL


@dataclass(frozen=True, slots=True)
class Traced:
    """A network in eval mode and double precision, its inputs, and what tracing found."""

    network: nn.Module
    example: tuple[Tensor, ...]
    spec: ChannelSpec
    graph: ParameterGraph


@cache
def trace(name: str) -> Traced:
    return traced_once(ALL[name].network(), ALL[name].example())


def traced_once(network: nn.Module, example: tuple[Tensor, ...]) -> Traced:
    """A trace with its graph, which is what `parameter_graph` gives, without tracing again for it."""
    spec, state = channel_spec(network, example), network.state_dict()
    graph = ParameterGraph(spec.structure, {name: state[name] for name in spec.structure.shapes})
    return Traced(network, example, spec, graph)


@pytest.fixture(scope="session")
def traced() -> Callable[[str], Traced]:
    """By name."""
    return trace
