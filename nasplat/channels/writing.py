"""From a parameter graph back to a module: exact copies, and calls with other tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasplat.channels.graph import ParameterGraph
from nasplat.errors import NasplatError


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module's `state_dict`, sharing memory; one that has several names stands under the first."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor) and id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor.detach()
    return found


def write_back(graph: ParameterGraph, module: nn.Module) -> None:
    """See `ParameterGraph.write_back`."""
    own = named_tensors(module)
    if graph.batch:
        raise NasplatError(
            f"a batch of {graph.batch} networks cannot be written to one module; take one of `unstack_graphs(graph)`"
        )
    check_form(graph, own, type(module).__name__)
    values = {name: _detached(graph.tensors[name], like) for name, like in own.items()}
    check_finite(graph.structure.rest, values)
    memory = {tensor.untyped_storage().data_ptr() for tensor in own.values()}
    for name, value in values.items():  # a view of what is about to be written must not change meanwhile
        if value.untyped_storage().data_ptr() in memory and not _same_view(value, own[name]):
            values[name] = value.clone()
    with torch.no_grad():
        for name, like in own.items():
            like.copy_(values[name])


def check_form(graph: ParameterGraph, own: Mapping[str, Tensor], owner: str) -> None:
    """NasplatError: the tensors of a graph have other names or shapes than a module's own."""
    form, shapes = graph.structure.shapes, {name: tuple(tensor.shape) for name, tensor in own.items()}
    for name in [*form, *shapes]:
        if form.get(name) != shapes.get(name):
            raise NasplatError(
                f"the graph is not of this {owner}: it has {_said(form, name)}, the module has {_said(shapes, name)}; "
                "take the module it came from, or one of the same form"
            )


def check_finite(rest: Sequence[str], tensors: Mapping[str, Tensor]) -> None:
    """NasplatError: a NaN anywhere, or an infinity but in tensors that belong to no channel, such as masks."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            wrong = tensor.isnan() if name in rest else ~tensor.isfinite()
            if count := int(wrong.sum()):
                raise NasplatError(
                    f"{count} of the {tensor.numel()} numbers of {name!r} are not finite; give finite weights"
                )


def call(module: nn.Module, graph: ParameterGraph, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """See `ParameterGraph.functional`."""
    check_form(graph, named_tensors(module), type(module).__name__)

    def run(tensors: dict[str, Tensor]) -> Any:
        return torch.func.functional_call(module, tensors, tuple(args), dict(kwargs))

    for _ in graph.batch:
        run = torch.vmap(run, randomness="different")
    buffers = {name for name, _ in module.named_buffers(remove_duplicate=False)}
    return run({name: t.detach() if name in buffers else t for name, t in graph.tensors.items()})


def _detached(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor on the device and of the type of another; the same memory where it is both already."""
    return tensor.detach().to(device=like.device, dtype=like.dtype)


def _same_view(first: Tensor, second: Tensor) -> bool:
    return first.data_ptr() == second.data_ptr() and first.stride() == second.stride()


def _said(shapes: Mapping[str, tuple[int, ...]], name: str) -> str:
    return f"{name!r} of shape {shapes[name]}" if name in shapes else f"no {name!r}"
