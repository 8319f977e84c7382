"""Channels in another order: of the tensors of a network, and of the nodes of its graph.

A permutation (channels,) says which old channel stands at each new place. Tensors are permuted through the slots of a
spec, graphs through their nodes: two routes to the same numbers, and the network computes the same function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasplat.channels.graph import ParameterGraph
from nasplat.channels.spec import ChannelSpace, ChannelSpec, Slot
from nasplat.channels.structure import Block, GraphStructure, Numbers
from nasplat.errors import NasplatError


def random_permutation(spec: ChannelSpec, generator: torch.Generator | None = None) -> Numbers:
    """A permutation (channels,) drawn uniformly from those that keep the function: hidden spaces in any order, blocks
    of channels to blocks as their parent says, all others as they are.
    """
    order = np.arange(channels(spec))
    for space in _parents_first(spec):
        if space.kind == "hidden":
            blocks = _blocks(spec, space, order)
            size = space.size // len(blocks)
            inner = [torch.randperm(size, generator=generator).numpy() for _ in blocks]
            order[space.start : space.stop] = space.start + (blocks[:, None] * size + np.stack(inner)).ravel()
    return order


def check_permutation(spec: ChannelSpec, permutation: Numbers) -> None:
    """NasplatError: a permutation that does not keep the function of the network; says which space is wrong."""
    if permutation.shape != (channels(spec),):
        raise NasplatError(
            f"a permutation of shape {permutation.shape} for {channels(spec)} channels; give one number for each"
        )
    for space in _parents_first(spec):
        own = permutation[space.start : space.stop] - space.start
        if space.kind == "hidden":
            blocks = _blocks(spec, space, permutation)
            size = space.size // len(blocks)
            own = np.sort(own.reshape(-1, size), axis=1)
            right = np.array_equal(own, blocks[:, None] * size + np.arange(size))
        else:
            right = np.array_equal(own, np.arange(space.size))
        if not right:
            rule = "blocks to blocks" if space.kind == "hidden" else f"{space.kind}, so in no other order"
            raise NasplatError(
                f"not a permutation of {space.name!r} ({space.size} channels, {rule}); "
                "draw one with `random_permutation(spec)`"
            )


def channels(spec: ChannelSpec) -> int:
    """The number of channels of all spaces."""
    return max((space.stop for space in spec.spaces), default=0)


def permute_state(
    spec: ChannelSpec, tensors: Mapping[str, Tensor], permutation: Numbers
) -> dict[str, Tensor]:
    """Tensors (*batch, *shape) by name with their channels permuted; those without slots stay as they are."""
    check_permutation(spec, permutation)
    permuted = dict(tensors)
    axes: dict[str, list[Slot]] = {}
    for slot in spec.slots:
        axes.setdefault(slot.parameter, []).append(slot)
    for name, slots in axes.items():
        index = _index(spec.structure.shapes[name], slots, permutation)
        permuted[name] = _picked(tensors[name], index)
    return permuted


def node_permutation(spec: ChannelSpec, permutation: Numbers) -> Numbers:
    """The old node at every new place, (nodes,): every row of neurons follows the channels that it holds."""
    check_permutation(spec, permutation)
    nodes = np.arange(spec.structure.nodes)
    for row in spec.structure.neurons:
        held = spec.channel_of[row.start : row.stop]
        nodes[row.start : row.stop] = row.start + _moved(held, permutation[held])
    return nodes


def permute_graph(graph: ParameterGraph, nodes: Numbers) -> ParameterGraph:
    """The graph with its nodes in another order, as `node_permutation` gives it."""
    index = torch.from_numpy(nodes)
    features = graph.features
    edges = permute_edges(graph.structure, graph.edges, nodes)
    return graph.replace(features[..., index.to(features.device), :], edges)


def permute_edges(structure: GraphStructure, edges: Sequence[Tensor], nodes: Numbers) -> list[Tensor]:
    """Weights or states (*batch, g, o, i, any) of every block, for nodes in another order."""
    return [_permuted(block, values, nodes) for block, values in zip(structure.blocks, edges, strict=True)]


def _parents_first(spec: ChannelSpec) -> list[ChannelSpace]:
    """Every space after its parent."""

    def depth(space: ChannelSpace) -> int:
        return 0 if space.parent is None else 1 + depth(spec.spaces[space.parent])

    return sorted(spec.spaces, key=depth)


def _blocks(spec: ChannelSpec, space: ChannelSpace, permutation: Numbers) -> Numbers:
    """The old block at the place of every new one of a space: its parent's order, or one block."""
    if space.parent is None:
        return np.zeros(1, np.int64)
    parent = spec.spaces[space.parent]
    return permutation[parent.start : parent.stop] - parent.start


def _old(permutation: Numbers, channels: Numbers) -> Numbers:
    """The old channels at the places of new ones; -1, which is none, stays."""
    return np.where(channels < 0, channels, permutation[channels])


def _moved(held: Numbers, wanted: Numbers) -> Numbers:
    """Where in `held` (n,) the values of `wanted` (n,) stand: the j-th of equals at the place of the j-th."""
    index = np.empty_like(held)
    index[np.argsort(wanted, kind="stable")] = np.argsort(held, kind="stable")
    return index


def _index(shape: tuple[int, ...], slots: Sequence[Slot], permutation: Numbers) -> list[Numbers]:
    """For every axis of a tensor, the old place at every new place; they broadcast to its shape."""
    index = [np.arange(size) for size in shape]
    for slot in (s for s in slots if len(s.channels) == 1):
        index[slot.axis] = _moved(slot.channels[0], _old(permutation, slot.channels[0]))
    outer = index[0]
    places = list(np.ix_(*index))
    for slot in (s for s in slots if len(s.channels) > 1):
        size = shape[0] // len(slot.channels)  # of a group; axis 0 says which old group each new one is
        old = slot.channels[outer[::size] // size]
        rows = np.stack([_moved(*pair) for pair in zip(old, _old(permutation, slot.channels), strict=True)])
        between = (1,) * (slot.axis - 1)
        behind = (1,) * (len(shape) - slot.axis - 1)
        places[slot.axis] = rows.repeat(size, axis=0).reshape(shape[0], *between, -1, *behind)
    return places


def _permuted(block: Block, values: Tensor, nodes: Numbers) -> Tensor:
    """One block's edges: edge (u, v) of the result is edge (nodes[u], nodes[v]) of `values` (*batch, g, o, i, any)."""
    sources, targets = nodes[block.sources], nodes[block.targets]
    known = {_key(*ends): group for group, ends in enumerate(zip(block.sources, block.targets, strict=True))}
    try:
        groups = np.array([known[_key(*ends)] for ends in zip(sources, targets, strict=True)])
    except KeyError:
        raise NasplatError(
            f"this order of nodes takes the groups of {block.parameter!r} apart; use `node_permutation`"
        ) from None
    outer = np.stack([_moved(*pair) for pair in zip(block.targets[groups], targets, strict=True)])
    inner = np.stack([_moved(*pair) for pair in zip(block.sources[groups], sources, strict=True)])
    return _picked(values, [groups[:, None, None], outer[:, :, None], inner[:, None, :]], behind=1)


def _key(sources: Numbers, targets: Numbers) -> tuple[bytes, bytes]:
    """A group of edges, whatever the order of its nodes."""
    return np.sort(sources).tobytes(), np.sort(targets).tobytes()


def _picked(tensor: Tensor, places: Sequence[Numbers], behind: int = 0) -> Tensor:
    """Elements of a tensor (*any, *axes, *behind) by their places on the axes."""
    index: list[Any] = [torch.from_numpy(np.ascontiguousarray(place)).to(tensor.device) for place in places]
    return tensor[(..., *index, *(slice(None),) * behind)]
