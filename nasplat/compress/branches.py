"""Parallel convolutions whose results are added, fused into one."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, fx, nn

from nasplat.compress.norms import PASSING, affine
from nasplat.compress.tracing import CONVOLUTIONS, NORMS, Norm, Rewritten, View, traced

ADDITIONS = (operator.add, operator.iadd, torch.add, "add")

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One term of a sum: source, then a convolution or none (the identity), then a norm or none; end: its last node."""

    source: fx.Node
    end: fx.Node
    conv: Conv | None
    norm: Norm | None


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a kernel meets its maps, one number for each of their axes; and the groups of a convolution."""

    kernel: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    stride: tuple[int, ...]
    groups: int


def fuse_branches(module: nn.Module, example: Tensor | Sequence[Tensor]) -> Rewritten:
    """A graph module in which sums of convolutions of one input are one convolution, as RepVGG (arXiv:2101.03697).

    A branch is a convolution, a convolution with a batch norm, a batch norm or the identity. Norms become part of
    kernels (equation 3), an identity is a 1x1 kernel with ones on the diagonal, and smaller kernels are laid at their
    place in the largest, zeros around them (section 3.3). Exact up to rounding. Branches are found in the trace, by
    what they compute; those that differ in stride, dilation or groups, or pad with other than zeros, stay and are
    told in `left`. example (n, ...). changed: names of the fused convolutions. NasplatError as `traced`.
    """
    view = traced(module, example)
    changed: list[str] = []
    left: dict[str, str] = {}
    for node in view.nodes:
        if _is_sum(node) and not any(_is_sum(user) for user in _only_user(node)):
            _fuse_sum(view, node, changed, left)
    view.graph.delete_all_unused_submodules()
    view.graph.graph.lint()
    view.graph.recompile()
    return Rewritten(view.graph, tuple(changed), left)


def _fuse_sum(view: View, node: fx.Node, changed: list[str], left: dict[str, str]) -> None:
    """Fuse what can be fused among the terms of one sum."""
    terms = _terms(node)
    gone: dict[fx.Node, fx.Node] = {}
    for group in _groups(view, node, terms):
        name, why = _host(view, group)
        geometry = _common(group, view.shapes[group[0].source][2:], view.shapes[node][2:])
        if why or isinstance(geometry, str):
            left[name] = why or str(geometry)
            continue
        view.graph.set_submodule(name, _fused(group, geometry))
        with view.graph.graph.inserting_before(node):
            fused = view.graph.graph.call_module(name, (group[0].source,))
        ends = {one.end: one.source for one in group}
        terms = [fused, *(term for term in terms if term not in ends)]
        gone |= ends
        changed.append(name)
    if gone:
        _rebuild(view.graph.graph, node, terms)
        for end, source in gone.items():
            _erase(view.graph.graph, end, source)


def _only_user(node: fx.Node) -> list[fx.Node]:
    return list(node.users) if len(node.users) == 1 else []


def _is_sum(node: object) -> bool:
    if not isinstance(node, fx.Node) or node.op not in ("call_function", "call_method") or node.kwargs:
        return False
    known = node.target in ADDITIONS and len(node.args) == 2
    return known and all(isinstance(one, fx.Node) or (_is_number(one) and one == 0) for one in node.args)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _terms(node: fx.Node) -> list[fx.Node]:
    """The summands of a sum, through sums that only it reads; zeros, with which Python's `sum` starts, add nothing."""
    found = []
    for one in node.args:
        if isinstance(one, fx.Node):
            found += _terms(one) if _is_sum(one) and len(one.users) == 1 else [one]
    return found


def _groups(view: View, node: fx.Node, terms: list[fx.Node]) -> list[list[Branch]]:
    """Branches of one source, at least two and at least one convolution among them."""
    by_source: dict[fx.Node, list[Branch]] = {}
    for term in terms:
        if view.shapes.get(term) == view.shapes[node]:
            found = _branch(view, term)
            by_source.setdefault(found.source, []).append(found)
    return [group for group in by_source.values() if len(group) > 1 and any(one.conv for one in group)]


def _branch(view: View, end: fx.Node) -> Branch:
    node, conv, norm = end, None, None
    last = _before_passing(view, node)
    layer = view.layer(last)
    if type(layer) in NORMS and cast(Norm, layer).running_mean is not None and len(last.users) == 1:
        norm, node = cast(Norm, layer), last.all_input_nodes[0]
        last = _before_passing(view, node)
        layer = view.layer(last)
    if type(layer) in CONVOLUTIONS and len(last.users) == 1:
        conv, node = cast(Conv, layer), last.all_input_nodes[0]
    while isinstance(view.layer(node), PASSING):
        node = node.all_input_nodes[0]
    return Branch(node, end, conv, norm)


def _before_passing(view: View, node: fx.Node) -> fx.Node:
    """The node before layers that do nothing in evaluation mode and that only one other reads."""
    while isinstance(view.layer(node), PASSING) and len(node.users) == 1:
        node = node.all_input_nodes[0]
    return node


def _host(view: View, group: list[Branch]) -> tuple[str, str]:
    """The name of the largest convolution of a group, which the fused one takes, and why it may not."""
    convs = [one.conv for one in group if one.conv is not None]
    largest = max(convs, key=lambda conv: conv.weight.numel())
    name = next(name for name in view.calls if view.graph.get_submodule(name) is largest)
    return name, view.entangled(name)


def _common(group: list[Branch], entering: tuple[int, ...], leaving: tuple[int, ...]) -> Geometry | str:
    """The geometry that holds those of all branches, or why there is none; the sizes of the maps before and after."""
    convs = [one.conv for one in group if one.conv is not None]
    if any(conv.padding_mode != "zeros" or isinstance(conv.padding, str) for conv in convs):
        return "it pads by a word, or with other than zeros"
    each = [_geometry(one, convs[0]) for one in group]
    if len({(one.stride, one.groups) for one in each}) > 1:
        return "its branches differ in stride or groups"
    wide = [{one.dilation[axis] for one in each if one.kernel[axis] > 1} for axis in range(len(entering))]
    if any(len(dilations) > 1 for dilations in wide):
        return "its branches differ in dilation"
    dilation = tuple(max(dilations, default=1) for dilations in wide)
    padding = tuple(map(max, zip(*(one.padding for one in each), strict=True)))
    offsets = [_offset(padding, one.padding, dilation) for one in each]
    reach = [map(operator.add, offset, one.kernel) for offset, one in zip(offsets, each, strict=True)]
    kernel = tuple(map(max, zip(*reach, strict=True)))
    whole = Geometry(kernel, padding, dilation, each[0].stride, each[0].groups)
    fits = _size(whole, entering) == leaving
    exact = all(
        p == own + d * o
        for one, offset in zip(each, offsets, strict=True)
        for p, own, d, o in zip(padding, one.padding, dilation, offset, strict=True)
    )
    return whole if fits and exact else "no one kernel covers its branches: their paddings do not line up"


def _geometry(branch: Branch, other: Conv) -> Geometry:
    """Of a branch; what has no convolution is one of kernel 1 and stride 1, in the groups of another branch."""
    conv = branch.conv
    if conv is None:
        ones = (1,) * len(other.kernel_size)
        return Geometry(ones, (0,) * len(ones), ones, ones, other.groups)
    padding = cast(tuple[int, ...], conv.padding)
    return Geometry(tuple(conv.kernel_size), padding, tuple(conv.dilation), tuple(conv.stride), conv.groups)


def _offset(whole: tuple[int, ...], own: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """Where a kernel lies in the whole one: output i reads x[s i + j d - p], so that its j is j + (P - p) / d there."""
    return tuple((p - q) // d for p, q, d in zip(whole, own, dilation, strict=True))


def _size(whole: Geometry, entering: tuple[int, ...]) -> tuple[int, ...]:
    """The size of the maps that a convolution gives."""
    axes = zip(entering, whole.kernel, whole.padding, whole.dilation, whole.stride, strict=True)
    return tuple((size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, p, d, s in axes)


def _fused(group: list[Branch], geometry: Geometry) -> Conv:
    """One convolution that computes the sum of some branches."""
    model = next(one.conv for one in group if one.conv is not None)
    weight = torch.zeros(
        model.weight.shape[:2] + geometry.kernel, dtype=torch.float64, device=model.weight.device
    )
    bias = torch.zeros(len(weight), dtype=torch.float64, device=model.weight.device)
    for one in group:
        own = _geometry(one, model)
        kernel, constant = _linear(one, model)
        offset = _offset(geometry.padding, own.padding, geometry.dilation)
        place = tuple(slice(o, o + k) for o, k in zip(offset, own.kernel, strict=True))
        weight[(slice(None), slice(None), *place)] += kernel
        bias += constant
    return _convolution(model, geometry, weight, bias)


def _linear(branch: Branch, other: Conv) -> tuple[Tensor, Tensor]:
    """A branch as kernel (o, i / g, *k) and constant (o,), float64."""
    outputs, inputs = other.weight.shape[:2]
    ones = (1,) * (other.weight.ndim - 2)
    if branch.conv is None:
        kernel = torch.eye(inputs, dtype=torch.float64, device=other.weight.device).repeat(other.groups, 1)
        kernel = kernel.reshape(outputs, inputs, *ones)
    else:
        kernel = branch.conv.weight.detach().double()
    constant = kernel.new_zeros(outputs)
    if branch.conv is not None and branch.conv.bias is not None:
        constant = branch.conv.bias.detach().double()
    if branch.norm is None:
        return kernel, constant
    scale, shift = affine(branch.norm)
    return kernel * scale.reshape(-1, 1, *ones), constant * scale + shift


def _convolution(model: Conv, geometry: Geometry, weight: Tensor, bias: Tensor) -> Conv:
    """A convolution like a model, with another kernel."""
    outputs, inputs = weight.shape[0], weight.shape[1] * geometry.groups
    fused = type(model)(
        inputs,
        outputs,
        geometry.kernel,  # type: ignore[arg-type]  # a tuple of as many numbers as the class has axes
        geometry.stride,  # type: ignore[arg-type]
        geometry.padding,  # type: ignore[arg-type]
        geometry.dilation,  # type: ignore[arg-type]
        geometry.groups,
        device=model.weight.device,
        dtype=model.weight.dtype,
    )
    with torch.no_grad():
        fused.weight.copy_(weight)
        cast(Tensor, fused.bias).copy_(bias)
    return fused.eval()


def _rebuild(graph: fx.Graph, node: fx.Node, terms: list[fx.Node]) -> None:
    """Let a sum be the sum of other terms."""
    total = terms[0]
    for term in terms[1:]:
        with graph.inserting_before(node):
            total = graph.call_function(operator.add, (total, term))
    node.replace_all_uses_with(total)
    _erase_sum(graph, node)


def _erase_sum(graph: fx.Graph, node: fx.Node) -> None:
    """Erase a sum that nothing reads, and those before it that only it read."""
    before = [one for one in node.all_input_nodes if _is_sum(one)]
    graph.erase_node(node)
    for one in before:
        if not one.users:
            _erase_sum(graph, one)


def _erase(graph: fx.Graph, end: fx.Node, source: fx.Node) -> None:
    """Erase the nodes of a branch that nothing reads any more; all others may write in place and stay."""
    while end is not source and not end.users:
        end, gone = end.all_input_nodes[0], end
        graph.erase_node(gone)
