"""Channel groups: which axes of which parameters and buffers are the same channels of an elastic network.

Equal dimensions are the same width, so all axes that one dimension sizes belong together: rows of the layers that
write the channels, columns of those that read them, and the norms between. Whoever reorders channels must reorder
all of them alike. Read from the slots of the weight sources; what cannot be told is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from math import lcm

from torch import Tensor, nn

from nasplat.elastic.layers.attention import ElasticHeadProjection, ElasticQueryKeyValue
from nasplat.elastic.layers.batch_norms import ElasticBatchNorm2d
from nasplat.elastic.layers.group_norms import ElasticEvoNorm2d, ElasticGroupNorm
from nasplat.elastic.layers.linear import ElasticConv2d, ElasticLinear
from nasplat.elastic.sizes import Dimension, Quotient
from nasplat.elastic.weights.sources import Bank, WeightSource

LINEAR = (ElasticConv2d, ElasticLinear, ElasticQueryKeyValue, ElasticHeadProjection)
"""Layers whose weights have rows, which write channels (or heads), and columns, which read them."""


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One axis of a parameter or a buffer."""

    tensor: Tensor
    axis: int


@dataclass(frozen=True, slots=True, eq=False)
class ChannelGroup:
    """The channels of one dimension: `axes` are all that they lie along, `readers` those that are input columns.

    `unit` neighbouring channels belong together, in their order, where a norm works in groups.
    """

    dimension: Dimension
    axes: tuple[Axis, ...]
    readers: tuple[Axis, ...]
    unit: int = 1


class Role(Enum):
    """What an axis is to its layer."""

    WRITES = auto()
    READS = auto()
    FOLLOWS = auto()
    FIXED = auto()


@dataclass(frozen=True, slots=True, eq=False)
class _Use:
    dimension: Dimension
    place: Axis
    role: Role
    unit: int = 1


def channel_groups(net: nn.Module) -> list[ChannelGroup]:
    """The groups of a network whose channels can change places without a change of its function.

    Only dimensions with a choice. Left alone are kernels, channels of grouped convolutions that are not depthwise,
    and, because there is more to them than layers tell, channels that no layer writes or no layer reads: they were
    flattened, split or joined on their way, and whatever follows one of the same choices may be part of that.
    """
    uses: dict[Dimension, list[_Use]] = {}
    for layer in net.modules():
        for use in _uses(layer):
            if use.dimension.choices:
                uses.setdefault(use.dimension, []).append(use)
    unclear = {choice for d, found in uses.items() if _one_sided(found) for choice in d.choices}
    return [
        _group(d, found) for d, found in uses.items() if _movable(found) and unclear.isdisjoint(d.choices)
    ]


def _one_sided(uses: Iterable[_Use]) -> bool:
    roles = {use.role for use in uses}
    return (Role.WRITES in roles) != (Role.READS in roles)


def _movable(uses: Iterable[_Use]) -> bool:
    roles = {use.role for use in uses}
    return {Role.WRITES, Role.READS} <= roles and Role.FIXED not in roles


def _group(dimension: Dimension, uses: list[_Use]) -> ChannelGroup:
    once = {(id(use.place.tensor), use.place.axis): use for use in uses}.values()  # sources may share a bank
    readers = tuple(use.place for use in once if use.role is Role.READS)
    unit = lcm(*(use.unit for use in uses))
    return ChannelGroup(dimension, tuple(use.place for use in once), readers, unit)


def _uses(layer: nn.Module) -> Iterator[_Use]:
    """The axes of a layer that has a weight source of its own, and what they are to it."""
    source = getattr(layer, "source", None)
    if not isinstance(source, WeightSource):
        return
    unit = layer.group if isinstance(layer, ElasticGroupNorm | ElasticEvoNorm2d) else 1
    learned = isinstance(source.router, nn.Module) and any(True for _ in source.router.parameters())
    fixed = learned or not isinstance(
        source.bank, Bank
    )  # other layers may have the same numbers on other channels
    for name, dimensions in source.bank.slot.tensors.items():
        for dimension, axis, role in _roles(layer, dimensions, name == "weight"):
            for tensor in source.bank.atoms(name):
                yield _Use(dimension, Axis(tensor, axis), Role.FIXED if fixed else role, unit)
    if isinstance(layer, ElasticBatchNorm2d):
        (channels,) = source.bank.slot.tensors["weight"]
        for buffer in (layer.running_mean, layer.running_var):
            yield _Use(channels, Axis(buffer, buffer.ndim - 1), Role.FOLLOWS)


def _roles(
    layer: nn.Module, dimensions: tuple[Dimension, ...], matrix: bool
) -> Iterator[tuple[Dimension, int, Role]]:
    """The dimension, number and role of each axis of one of a layer's tensors."""
    if not isinstance(layer, LINEAR) or not matrix:
        yield from ((d, axis, Role.FOLLOWS) for axis, d in enumerate(dimensions))
        return
    rows, columns, *window = dimensions
    yield from ((d, axis, Role.FIXED) for axis, d in enumerate(window, start=2))
    if not isinstance(columns, Quotient):
        yield rows, 0, Role.WRITES
        yield columns, 1, Role.READS
    elif rows == columns.size == columns.by:  # depthwise
        yield rows, 0, Role.FOLLOWS
    else:
        yield from ((d, 0, Role.FIXED) for d in (rows, columns.size, columns.by))
