"""The subnet of an architecture as a part of its supernet's parameter graph."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nasplat.channels import ParameterGraph, channel_spec, named_tensors
from nasplat.elastic.extraction import extract
from nasplat.errors import NasplatError
from nasplat.space import Value


def subnet_graph(net: nn.Module, arch: Mapping[str, Value], example: Tensor) -> ParameterGraph:
    """The parameter graph of `extract(net, arch)` over the supernet's own parameters.

    example: an input (n, ...) of the subnet. Where the architecture takes a slice of a supernet's parameter, the
    tensor is a view of it: what is written there is written into the supernet, and gradients flow to it. Tensors that
    are no slice but still single elements of a parameter, such as a transposed or shuffled one, are gathered from it.
    NasplatError where a weight is computed from several, as mixtures and kernel transforms do.
    """
    module = extract(net, arch)
    structure = channel_spec(module, example).structure
    own, tensors = dict(net.state_dict(keep_vars=True)), named_tensors(module)
    for name, (source, elements) in origins(net, arch).items():
        tensors[name] = _read(own[source], elements)
    return ParameterGraph(structure, {name: tensors[name] for name in structure.shapes})


def origins(net: nn.Module, arch: Mapping[str, Value]) -> dict[str, tuple[str, Tensor]]:
    """For every tensor of a subnet: the supernet's tensor that it comes from, and which elements of it (*shape).

    A copy of the supernet is filled with marks, each the number of its element and a random fraction, and the subnet
    that is extracted from it is looked up number by number. Counters of batches are not among them.
    """
    marked = copy.deepcopy(net).double().cpu()
    state = marked.state_dict(keep_vars=True)
    starts = torch.tensor([0, *(tensor.numel() for tensor in state.values())]).cumsum(0)
    fractions = torch.rand(int(starts[-1]), generator=torch.Generator().manual_seed(0))
    marks = torch.arange(len(fractions), dtype=torch.float64) + fractions
    with torch.no_grad():
        for tensor, start in zip(state.values(), starts.tolist(), strict=False):
            if tensor.is_floating_point():
                tensor.copy_(marks[start : start + tensor.numel()].reshape(tensor.shape))
    plain = extract(marked, arch).state_dict()
    return {
        name: _origin(name, tensor, marks, dict(zip(state, starts.tolist(), strict=False)))
        for name, tensor in plain.items()
        if tensor.is_floating_point()
    }


def _origin(name: str, tensor: Tensor, marks: Tensor, starts: Mapping[str, int]) -> tuple[str, Tensor]:
    """The tensor whose elements bear the marks, and their places in it."""
    element = tensor.floor().long().clamp(0, len(marks) - 1)
    source, start = next(one for one in reversed(list(starts.items())) if one[1] <= int(element.min()))
    ends = [end for end in (*starts.values(), len(marks)) if end > start]
    if not torch.equal(marks[element], tensor) or int(element.max()) >= ends[0]:
        raise NasplatError(
            f"{name} of the subnet is computed from several numbers of the supernet, so that it is no part of its "
            "graph: take `parameter_graph(extract(net, arch), example)` for a graph of its own"
        )
    return source, element - start


def _read(tensor: Tensor, elements: Tensor) -> Tensor:
    """Elements of a tensor: a view where they lie at regular distances."""
    strides = _strides(elements)
    if strides is None or not tensor.is_contiguous():
        return tensor.reshape(-1)[elements.to(tensor.device)]
    first = int(elements.reshape(-1)[0])
    return tensor.as_strided(elements.shape, strides, tensor.storage_offset() + first)


def _strides(elements: Tensor) -> tuple[int, ...] | None:
    """The regular distances between elements along each axis, or None."""
    origin = elements[(0,) * elements.ndim]
    steps = []
    regular = origin.clone()
    for axis, size in enumerate(elements.shape):
        step = elements.select(axis, min(1, size - 1))[(0,) * (elements.ndim - 1)] - origin
        steps.append(int(step))
        regular = regular + (torch.arange(size) * step).reshape(-1, *(1,) * (elements.ndim - axis - 1))
    return tuple(steps) if torch.equal(regular.expand(elements.shape), elements) and min(steps) >= 0 else None
