"""Ranges of weights evened out between layers, so that few bits serve all channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor, fx, nn

from nasplat.channels import ChannelSpec, channel_spec
from nasplat.compress.tracing import CONVOLUTIONS, NORMS, TRANSPOSED, Rewritten, View, traced
from nasplat.measure.symbolic import plain_word

WEIGHTED = (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)

HOMOGENEOUS = (
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Identity, nn.Flatten,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
    nn.Upsample, nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d,
)  # fmt: skip
"""Layers with f(s x) = s f(x) for every s > 0 that do not mix channels."""

WORDS = frozenset((
    "relu", "leaky_relu", "dropout", "flatten", "contiguous", "max_pool1d", "max_pool2d", "max_pool3d",
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "adaptive_max_pool2d",
))  # fmt: skip
"""Functions and methods of one tensor that do the same."""


@dataclass(frozen=True, slots=True)
class Equalisation:
    """When to stop: once no factor of a round is further than `tolerance` from 1, or after `rounds`."""

    rounds: int = 100
    tolerance: float = 1e-4


STANDARD = Equalisation()


@dataclass(frozen=True, slots=True, eq=False)
class Equalised(Rewritten):
    """An equalised module; factors: by layer that reads rescaled channels, what each column of its weight was
    multiplied by, and the input of that column divided by (columns,).
    """

    factors: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One tensor axis that carries the channels of a stretch: parameter, axis, and their numbers (groups, length)."""

    parameter: str
    axis: int
    numbers: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Layers with nothing but homogeneous operations between: who writes the channels, and who reads them."""

    writers: tuple[Side, ...]
    readers: tuple[Side, ...]
    name: str


def equalise(
    module: nn.Module, example: Tensor | Sequence[Tensor], settings: Equalisation = STANDARD
) -> Equalised:
    """A copy with even ranges of weights in every channel: cross-layer equalisation (section 4.1 of arXiv:1906.04721).

    Where only positively homogeneous operations (ReLU, leaky ReLU, pooling, flattening, sums) stand between layers,
    channel i may be divided by s_i where it is written and multiplied by s_i where it is read:
    s_i = sqrt(r1_i / r2_i), equation 11, r1_i and r2_i being its largest absolute weight on either side. Pairs in the
    paper; here all writers and readers of a channel together, so that residual sums and concatenations count.
    Repeated over all stretches until the factors settle. Exact up to rounding. Fold norms before.
    changed: the first layer that writes, of every stretch; left: why others stay. NasplatError as `traced`.
    """
    view = traced(module, example)
    numbers = _numbers(channel_spec(view.module, example))
    stretches, left = _stretches(view, numbers)
    tensors = dict(view.module.named_parameters())
    total = _settled(stretches, tensors, settings)
    with torch.no_grad():
        for stretch, factor in zip(stretches, total, strict=True):
            _apply(stretch, tensors, factor)
    factors = {
        side.parameter.removesuffix(".weight"): all_[side.numbers].flatten()
        for stretch, all_ in zip(stretches, total, strict=True)
        for side in stretch.readers
    }
    return Equalised(view.module, tuple(stretch.name for stretch in stretches), left, factors)


def _settled(
    stretches: Sequence[Stretch], tensors: Mapping[str, Tensor], settings: Equalisation
) -> list[Tensor]:
    """The factors of all stretches, by channel number, from the largest absolute weights of kernels alone."""
    names = {side.parameter for stretch in stretches for side in (*stretch.writers, *stretch.readers)}
    sizes = {name: _largest(tensors[name]) for name in names}
    total = [torch.ones((), dtype=torch.float64) for _ in stretches]
    for _ in range(settings.rounds):
        moves = []
        for stretch in stretches:
            moves.append(_factors(stretch, sizes))
            _apply(stretch, sizes, moves[-1])
        total = [all_ * now for all_, now in zip(total, moves, strict=True)]
        if all(float(now.log().abs().max()) <= settings.tolerance for now in moves):
            break
    return total


def _largest(tensor: Tensor) -> Tensor:
    """A weight (o, i, *k) as (o, i), float64; a bias as it is."""
    sizes = tensor.detach().double().cpu().abs()
    return sizes.flatten(2).amax(2) if sizes.ndim > 2 else sizes


def _factors(stretch: Stretch, tensors: Mapping[str, Tensor]) -> Tensor:
    """What one step multiplies the readers of a stretch with, by channel number."""
    size = 1 + max(int(side.numbers.max()) for side in stretch.writers)
    written, read = torch.zeros(2, size, dtype=torch.float64).unbind()
    for side, into in [*((s, written) for s in stretch.writers), *((s, read) for s in stretch.readers)]:
        if tensors[side.parameter].ndim > 1:  # a bias moves with its channel, but no bits are spent on it
            into.scatter_reduce_(0, side.numbers.flatten(), _ranges(tensors[side.parameter], side), "amax")
    used = (written > 0) & (read > 0)
    return torch.where(used, (written / read.where(used, 1.0)).sqrt(), 1.0)


def _apply(stretch: Stretch, tensors: Mapping[str, Tensor], factors: Tensor) -> None:
    for side in stretch.writers:
        _multiply(tensors[side.parameter], side, 1 / factors)
    for side in stretch.readers:
        _multiply(tensors[side.parameter], side, factors)


def _by_channel(tensor: Tensor, side: Side) -> Tensor:
    """A view (groups, length, rest...) of a tensor in which `side.numbers` are the first two axes."""
    groups = len(side.numbers)
    if groups == 1:
        return tensor.movedim(side.axis, 0)[None]
    return tensor.reshape(groups, -1, *tensor.shape[1:]).movedim(1 + side.axis, 1)


def _ranges(tensor: Tensor, side: Side) -> Tensor:
    """The largest absolute weight of every channel (groups * length,), float64."""
    return _by_channel(tensor, side).flatten(2).amax(2).flatten()


def _multiply(tensor: Tensor, side: Side, factors: Tensor) -> None:
    view = _by_channel(tensor, side)
    factor = factors[side.numbers].to(tensor)
    view.mul_(factor.reshape(*factor.shape, *[1] * (view.ndim - 2)))


def _numbers(spec: ChannelSpec) -> dict[tuple[str, int], Tensor]:
    """The channel numbers of every axis that carries channels which may be rescaled."""
    movable = np.zeros(max((space.stop for space in spec.spaces), default=0), dtype=bool)
    for space in spec.spaces:
        movable[space.start : space.stop] = space.kind == "hidden"
    return {
        (slot.parameter, slot.axis): torch.from_numpy(slot.channels)
        for slot in spec.slots
        if movable[slot.channels].all()
    }


def _stretches(view: View, numbers: Mapping[tuple[str, int], Tensor]) -> tuple[list[Stretch], dict[str, str]]:
    """All stretches of a network, and why other layers write no channels of one."""
    held = _values(view)
    found: list[Stretch] = []
    left: dict[str, str] = {}
    for nodes in dict.fromkeys(tuple(value) for value in held.values()):
        writers = [node for node in nodes if type(view.layer(node)) in WEIGHTED]
        readers = list(dict.fromkeys(user for node in nodes for user in node.users if user not in nodes))
        if not writers:
            continue
        name = str(writers[0].target)
        why = _why_not(view, nodes, readers)
        if why:
            left |= dict.fromkeys((str(node.target) for node in writers), why)
            continue
        sides = _sides(writers, readers, view, numbers)
        if sides is None:
            left[name] = "the order of its channels is not free"
            continue
        found.append(Stretch(*sides, name))
    return found, left


def _values(view: View) -> dict[fx.Node, list[fx.Node]]:
    """For every node the nodes whose results are scaled together with it, in order of running."""
    held: dict[fx.Node, list[fx.Node]] = {}
    for node in view.nodes:
        held[node] = [node]
        if not is_homogeneous(view, node):
            continue
        for one in node.all_input_nodes:
            if held[one] is not held[node]:
                joined = [*held[one], *held[node]]
                for member in joined:
                    held[member] = joined
    return held


def is_homogeneous(view: View, node: fx.Node) -> bool:
    """Whether its result is scaled as its inputs are, channel by channel."""
    layer = view.layer(node)
    if layer is not None:
        return isinstance(layer, HOMOGENEOUS)
    word, tensors = plain_word(node), len(node.all_input_nodes)
    if word in ("add", "iadd"):
        same = all(view.shapes.get(one) == view.shapes.get(node) for one in node.all_input_nodes)
        return same and tensors == sum(isinstance(one, fx.Node) for one in node.args) == len(node.args)
    if word in ("cat", "concat"):
        return bool(tensors)
    if word == "mean":
        axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        places = {axis % len(view.shapes[node.all_input_nodes[0]]) for axis in _axes(axes)}
        return bool(places) and not places & {0, 1}
    return word in WORDS and tensors == 1


def _axes(value: object) -> list[int]:
    if isinstance(value, int):
        return [value]
    return [one for one in value if isinstance(one, int)] if isinstance(value, tuple | list) else []


def _why_not(view: View, nodes: Sequence[fx.Node], readers: Sequence[fx.Node]) -> str:
    """Why the values of some nodes cannot be rescaled, or ""."""
    for node in nodes:
        if type(view.layer(node)) not in WEIGHTED and not is_homogeneous(view, node):
            return f"{_name(node)} is added to its channels"
    for node in readers:
        if type(view.layer(node)) in NORMS:
            return f"the batch norm {node.target} reads it: fold norms first"
        if type(view.layer(node)) not in WEIGHTED:
            return f"{_name(node)} reads it, which is not positively homogeneous or leads out of the network"
    for node in [*nodes, *readers]:
        why = view.entangled(str(node.target)) if type(view.layer(node)) in WEIGHTED else ""
        if why:
            return why
    return "" if readers else "nothing reads it"


def _sides(
    writers: Sequence[fx.Node],
    readers: Sequence[fx.Node],
    view: View,
    numbers: Mapping[tuple[str, int], Tensor],
) -> tuple[tuple[Side, ...], tuple[Side, ...]] | None:
    """The tensors of writers and readers, or None where the channels of one are not free or not those of the others."""
    written: list[tuple[str, int]] = []
    for node in writers:
        layer = cast(nn.Module, view.layer(node))
        written.append((f"{node.target}.weight", int(isinstance(layer, TRANSPOSED))))
        written += [(f"{node.target}.bias", 0)] if layer.bias is not None else []
    read = [(f"{node.target}.weight", int(not isinstance(view.layer(node), TRANSPOSED))) for node in readers]
    numbers = dict(numbers)
    for node, key in zip(readers, read, strict=True):
        if _is_depthwise(view.layer(node)) and (key[0], 0) in numbers:  # its channels enter as they leave
            numbers[key] = numbers[key[0], 0].reshape(-1, 1)
    if any(key not in numbers for key in [*written, *read]):
        return None
    own = set(torch.cat([numbers[key].flatten() for key in written]).tolist())
    if any(not own.issuperset(numbers[key].flatten().tolist()) for key in read):
        return None
    return tuple(Side(*key, numbers[key]) for key in written), tuple(Side(*key, numbers[key]) for key in read)


def _is_depthwise(layer: nn.Module | None) -> bool:
    return isinstance(layer, CONVOLUTIONS) and layer.groups == layer.in_channels == layer.out_channels > 1


def _name(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else node.name
