"""What an export starts from: a copy of the network as it will run elsewhere, traced and printed."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from nasplat.data import predict
from nasplat.errors import ExportError
from nasplat.export.source import Shapes, network_source, network_weights

BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A network in evaluation mode, float32, on the CPU, and the same network as source and named tensors.

    example: two inputs (2, ...): exporters take a batch of one for a fixed size.
    """

    traced: fx.GraphModule
    source: str
    weights: dict[str, Tensor]
    shapes: Shapes
    example: Tensor

    @property
    def params(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.traced.parameters())


def prepare(module: nn.Module, inputs: Tensor) -> tuple[Network, Tensor]:
    """A network ready for export, and the outputs (n, ...) of the module itself for inputs (n, ...).

    The module stays as it is: mode, device, values. ExportError when it cannot be traced or printed.
    """
    if len(inputs) == 0:
        raise ExportError("an export is verified on validation inputs; give at least one")
    plain = copy.deepcopy(module).cpu().float().eval()
    outputs = _outputs(plain, inputs)
    if not isinstance(outputs, Tensor) or len(outputs) != len(inputs):
        raise ExportError("the network must give one output for every input, as one tensor (n, ...)")
    traced = trace(plain)
    shapes = Shapes(tuple(inputs.shape[1:]), tuple(outputs.shape[1:]))
    example = torch.cat([inputs[:1], inputs[-1:]])
    return Network(traced, network_source(traced, shapes), network_weights(traced), shapes, example), outputs


def _outputs(module: nn.Module, inputs: Tensor) -> Tensor:
    try:
        return predict(module, inputs, batch_size=BATCH)
    except Exception as error:
        raise ExportError(
            f"the network does not run on the validation inputs: {first_line(error)}"
        ) from error


def trace(module: nn.Module) -> fx.GraphModule:
    """The graph of a module in evaluation mode, without its identities."""
    try:
        graph = fx.Tracer().trace(module)
    except Exception as error:
        raise ExportError(f"cannot trace {type(module).__name__}: {first_line(error)}") from error
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    if len(inputs) != 1:
        raise ExportError(f"the network must have one input, not {len(inputs)}")
    for node in list(graph.nodes):
        if node.op == "call_module" and isinstance(module.get_submodule(str(node.target)), nn.Identity):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    return fx.GraphModule(module, graph)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
