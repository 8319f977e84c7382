"""Extraction: the subnet of one architecture as an ordinary module of plain torch.nn layers.

The network is traced by torch.fx at a fixed architecture. Elastic layers are leaves and give their plain layer;
depth and other decisions about the architecture are Python control flow, which the trace follows. A plain layer that
torch.nn does not have, such as EvoNorm, is a small module of its own; a second trace dissolves it into its operations
and parameters, so that what comes out needs nothing but torch.
"""

from __future__ import annotations

import copy
import inspect
import operator
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from nasplat.elastic.layers.base import Elastic
from nasplat.errors import NasplatError
from nasplat.space import Arch, Value


class UntraceableNetwork(NasplatError):
    """A network that cannot be traced at a fixed architecture."""


def extract(net: nn.Module, arch: Mapping[str, Value]) -> fx.GraphModule:
    """The subnet of `net` in `arch` as a module of plain torch.nn layers, called as module(x).

    net: called as net(x, arch), with one input tensor. In eval mode the result equals net(x, arch). Names,
    device, dtype and training mode stay; weights are copies; a layer that runs twice stays one layer. Layers of
    torch.nn are leaves and keep their class. UntraceableNetwork names the line that does not trace, such as an
    `if` on the values of a tensor.
    """
    return inline(outline(net, arch))


def outline(net: nn.Module, arch: Mapping[str, Value]) -> fx.GraphModule:
    """The subnet, in which plain layers that torch.nn does not have are still modules: those can reset themselves."""
    tracer = _Tracer()
    graph = _traced(tracer, _Subnet(net, Arch(arch)))
    module = fx.GraphModule(tracer.parts(graph), graph, type(net).__name__)
    return module.train(net.training)


def bare_tensors(module: fx.GraphModule) -> list[str]:
    """The names of parameters, buffers and constants that an outline reads itself, without a layer."""
    return [str(node.target) for node in module.graph.find_nodes(op="get_attr")]


def inline(module: fx.GraphModule) -> fx.GraphModule:
    """The same network, of torch.nn layers and bare parameters only; it takes the weights over, without a copy."""
    tracer = fx.Tracer()
    layers = (node.target for node in module.graph.find_nodes(op="call_module"))
    if all(tracer.is_leaf_module(module.get_submodule(str(name)), str(name)) for name in layers):
        return module
    graph = _traced(tracer, module)
    return fx.GraphModule(module, graph, type(module).__name__).train(module.training)


def _traced(tracer: fx.Tracer, module: nn.Module) -> fx.Graph:
    try:
        return tracer.trace(module)
    except NasplatError:
        raise
    except Exception as error:
        raise UntraceableNetwork(_explain(error)) from error


class _Subnet(nn.Module):
    """The network at a fixed architecture: what is left to trace takes only the input."""

    def __init__(self, net: nn.Module, arch: Arch) -> None:
        super().__init__()
        self.net, self.arch = net, arch

    def forward(self, x: Tensor) -> Any:
        return self.net(x, self.arch)


class _Tracer(fx.Tracer):
    """Records leaves under the names that they have in the network; `parts` makes what stands behind a name.

    The parts are made after the trace, because torch.fx replaces the parameters that it sees on its way.
    """

    def __init__(self) -> None:
        super().__init__()
        self._leaves: dict[str, tuple[nn.Module, Arch | None]] = {}

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        path = self.path_of_module(m)
        if isinstance(m, Elastic):
            arch = next((value for value in (*args, *kwargs.values()) if isinstance(value, Arch)), None)
            if arch is None:
                raise TypeError(f"{path.removeprefix('net.')} is called without an Arch")
            given = (
                inspect.signature(m.forward).bind(*args, **kwargs).args
            )  # torch.nn has other names for inputs
            inputs = tuple(value for value in given if value is not arch)
            return self.create_proxy("call_module", self._name(path, m, arch), inputs, {})
        if self.is_leaf_module(m, path):
            return self.create_proxy("call_module", self._name(path, m, None), args, kwargs)
        return forward(*args, **kwargs)

    def _name(self, path: str, leaf: nn.Module, arch: Arch | None) -> str:
        """The leaf's path, with a number where one layer runs in several architectures."""
        path = path.removeprefix("net.")
        name, number = path, 1
        while self._leaves.setdefault(name, (leaf, arch)) != (leaf, arch):
            number += 1
            name = f"{path}_{number}"
        return name

    def parts(self, graph: fx.Graph) -> dict[str, Any]:
        """Plain layers, and copies of the parameters and buffers that the graph reads directly, by name."""
        parts: dict[str, Any] = {}
        for name, (leaf, arch) in self._leaves.items():
            parts[name] = (
                leaf.plain(arch) if isinstance(leaf, Elastic) and arch is not None else copy.deepcopy(leaf)
            )
        for node in graph.find_nodes(op="get_attr"):
            value = operator.attrgetter(node.target)(self.root)
            node.target = node.target.removeprefix("net.")
            parts[node.target] = copy.deepcopy(value)
        return parts


def _explain(error: Exception) -> str:
    """One line: the user's line that does not trace, why, and what to do."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = traceback.extract_tb(error.__traceback__)
    line = next((f for f in reversed(frames) if not f.filename.startswith(ours)), frames[-1])
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"{line.filename}:{line.lineno}: `{line.line}` cannot be traced ({reason}): "
        "decide by the architecture, not by the values of a tensor"
    )
