"""The networks of `architectures`, traced once each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
from torch import Tensor, nn

from nasplat.channels import channel_spec, parameter_graph
from nasplat.channels.graph import ParameterGraph
from nasplat.channels.spec import ChannelSpec

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
    network, example = ALL[name].network(), ALL[name].example()
    return Traced(network, example, channel_spec(network, example), parameter_graph(network, example))


@pytest.fixture(scope="session")
def traced() -> Callable[[str], Traced]:
    """By name."""
    return trace
