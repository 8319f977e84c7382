"""From what a run wrote down to channels, spaces and the form of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from nasplat.channels.ledger import Column, Edges, Ledger
from nasplat.channels.spaces import Flags, equal_blocks, find_spaces
from nasplat.channels.spec import ChannelSpec, Frozen, Slot
from nasplat.channels.structure import Block, GraphStructure, Join, Neurons, Numbers, Vector
from nasplat.channels.values import NONE


@dataclass(frozen=True, slots=True)
class Stored:
    """The tensors of a module: shapes by name, second names of tensors that have two, and those that nothing read."""

    shapes: Mapping[str, tuple[int, ...]]
    aliases: Mapping[str, str]
    unread: tuple[str, ...] = ()


def settle(ledger: Ledger, stored: Stored) -> ChannelSpec:
    """All that a ledger says, in numbers from 0."""
    place_parameters(ledger)
    neurons = labels(ledger, ledger.merges)
    for name, why in ledger.mixed:
        known = [binding.numbers for (parameter, _), binding in ledger.bindings.items() if parameter == name]
        ledger.freeze([*known, *([ledger.columns[name].numbers] if name in ledger.columns else [])], why)

    for name, why in ledger.computed:
        known = [binding.numbers for (parameter, _), binding in ledger.bindings.items() if parameter == name]
        known += [ledger.columns[name].numbers] if name in ledger.columns else []
        if known:
            ledger.freeze(known, why)

    def place(numbers: Tensor) -> Numbers:
        return index_of(ledger, numbers)

    pairs = [*ledger.merges, *ledger.ties]
    pairs += equal_blocks(ledger, labels(ledger, pairs), place)
    found = find_spaces(ledger, labels(ledger, pairs), place)
    for name in stored.unread:
        ledger.freeze(
            [], Frozen(name, "parameter", "nothing reads it in evaluation mode: its channels are not known")
        )
    structure = _structure(ledger, stored, neurons, found.fixed)
    first = np.unique(neurons[1 : ledger.count], return_index=True)[1] + 1
    slots = [
        Slot(binding.parameter, binding.axis, found.channels[index_of(ledger, binding.numbers)])
        for binding in ledger.bindings.values()
    ]
    frozen = list(dict.fromkeys(why for _, why in ledger.frozen))
    return ChannelSpec(found.spaces, tuple(slots), tuple(frozen), structure, found.channels[first])


def index_of(ledger: Ledger, numbers: Tensor) -> Numbers:
    """Places in tables of neurons and blocks: neurons first, then blocks."""
    found: Numbers = torch.where(numbers < NONE, ledger.count - 1 - numbers, numbers).numpy()
    return found


def labels(ledger: Ledger, pairs: list[Tensor]) -> Numbers:
    """For every neuron and block the least of those that pairs connect it with."""
    size = ledger.count + ledger.blocks
    joined = index_of(ledger, torch.cat([torch.empty(2, 0, dtype=torch.long), *pairs], 1))
    _, found = connected_components(
        coo_array((np.ones(joined.shape[1]), tuple(joined)), (size, size)), directed=False
    )
    least = np.full(found.max() + 1, size)
    np.minimum.at(least, found, np.arange(size))
    result: Numbers = least[found]
    return result


def place_parameters(ledger: Ledger) -> None:
    """Find the axis of channels of every parameter that is used element by element.

    A parameter (1, t, c) that is added to t places becomes edges from t places to c channels.
    """
    for name, column in list(ledger.columns.items()):
        numbers = column.numbers
        large = [axis for axis, size in enumerate(numbers.shape) if size > 1]
        if len(large) == 1 or numbers.numel() == 1:
            ledger.bind(name, large[0] if large else 0, numbers.reshape(-1))
            found = ledger.owned(numbers.reshape(-1), name)
            if bool((found == NONE).any()):
                del ledger.columns[name]
            else:
                ledger.columns[name] = Column(name, column.column, found.reshape(numbers.shape))
            continue
        same = torch.from_numpy(labels(ledger, ledger.merges)[index_of(ledger, numbers)])
        if len(same.unique()) == same.numel() and bool((numbers > NONE).all()):
            ledger.freeze([numbers], Frozen(name, "parameter", "every element of it is a neuron of its own"))
            continue
        del ledger.columns[name]
        axis = _channel_axis(same)
        if axis is None:
            ledger.freeze([numbers], Frozen(name, "parameter", "no one axis of it goes along channels"))
            continue
        _lay_edges(ledger, column, axis)


def _channel_axis(neurons: Tensor) -> int | None:
    """The only axis along which all neurons differ."""
    found = [
        axis
        for axis, size in enumerate(neurons.shape)
        if size > 1 and len(neurons.movedim(axis, 0).reshape(size, -1)[:, 0].unique()) == size
    ]
    return found[0] if len(found) == 1 else None


def _lay_edges(ledger: Ledger, column: Column, axis: int) -> None:
    name, shape = column.parameter, column.numbers.shape
    targets = ledger.level(column.numbers, axis)
    ledger.bind(name, axis, targets)
    targets = ledger.owned(targets, name)
    if bool((targets <= NONE).any()):
        return
    places = ledger.row(f"{name}.places", "position", shape.numel() // shape[axis])
    ledger.ends["input"].append(places.numbers)
    others = [one for one in range(len(shape)) if one != axis]
    kind = "position" if column.column in ("bias", "shift") else "position_scale"
    order = (0, axis + 1, *(one + 1 for one in others))
    ledger.edges[name] = Edges(
        name, kind, places.numbers[None], targets[None], (), len(shape), (1, *shape), order, axis
    )


def _structure(ledger: Ledger, stored: Stored, neurons: Numbers, fixed: Flags) -> GraphStructure:
    """The graph, its nodes being different neurons in order of appearance."""
    own, node_of = np.unique(neurons[1 : ledger.count], return_inverse=True)
    node_of = np.concatenate(([-1], node_of))
    second = np.zeros(ledger.count, dtype=bool)
    second[torch.cat([torch.empty(0, dtype=torch.long), *ledger.seconds]).numpy()] = True
    rows = _rows(ledger, own)
    positions = np.full(len(own), -1, dtype=np.int64)
    for row in rows:
        held = fixed[own[row.start : row.stop]]
        positions[row.start : row.stop] = np.where(held, np.arange(len(row)), -1)
    blocks = [_block(edges, node_of) for edges in ledger.edges.values()]
    vectors = [
        Vector(name, column.column, int(second[numbers[0]]), node_of[numbers])
        for name, column in ledger.columns.items()
        for numbers in [column.numbers.reshape(-1).numpy()]
    ]
    held_names = {block.parameter for block in blocks} | {vector.parameter for vector in vectors}
    return GraphStructure(
        tuple(rows),
        tuple(blocks),
        tuple(vectors),
        _joins(ledger, node_of),
        tuple(name for name in stored.shapes if name not in held_names),
        positions,
        dict(stored.shapes),
        dict(stored.aliases),
    )


def _rows(ledger: Ledger, own: Numbers) -> list[Neurons]:
    """Rows that have neurons of their own left."""
    starts = np.searchsorted(own, [row.start for row in ledger.rows])
    stops = np.searchsorted(own, [row.start + row.size for row in ledger.rows])
    kept = [
        (row, start, stop)
        for row, start, stop in zip(ledger.rows, starts, stops, strict=True)
        if stop > start
    ]
    return [
        Neurons(row.name, row.kind, int(start), int(stop), depth, row.activation)
        for depth, (row, start, stop) in enumerate(kept)
    ]


def _block(edges: Edges, node_of: Numbers) -> Block:
    sources, targets = node_of[edges.sources.numpy()], node_of[edges.targets.numpy()]
    split, order, kernel, repeated = edges.split, edges.order, edges.kernel, _repeats(sources)
    if repeated and not kernel and len(sources) == 1:
        return _folded(edges, sources, targets, repeated)
    return Block(edges.parameter, edges.kind, sources, targets, kernel, edges.axes, split, order)


def _repeats(sources: Numbers) -> tuple[int, bool] | None:
    """How often every source stands, and whether its places follow each other, as flattened maps have it."""
    row = sources[0]
    size = len(np.unique(row))
    times = len(row) // size
    if times == 1 or size * times != len(row):
        return None
    if np.array_equal(row, np.repeat(row[::times], times)):
        return times, True
    return (times, False) if np.array_equal(row, np.tile(row[:size], times)) else None


def _folded(edges: Edges, sources: Numbers, targets: Numbers, repeated: tuple[int, bool]) -> Block:
    """A linear layer on a flattened map: its places are a kernel."""
    times, together = repeated
    row = sources[:, ::times] if together else sources[:, : sources.shape[1] // times]
    into = edges.order[2]
    size = edges.split[into] // times
    split = (*edges.split[:into], *((size, times) if together else (times, size)), *edges.split[into + 1 :])
    where = {axis: axis + (axis > into) for axis in range(len(edges.split))}
    inner, outer = (into, into + 1) if together else (into + 1, into)
    order = (where[edges.order[0]], where[edges.order[1]], inner, outer)
    return Block(edges.parameter, edges.kind, row, targets, (times,), edges.axes, split, order)


def _joins(ledger: Ledger, node_of: Numbers) -> tuple[Join, ...]:
    by_kind: dict[str, list[Numbers]] = {}
    for kind, pair in ledger.joins:
        by_kind.setdefault(kind, []).append(node_of[pair.numpy()])
    joins = []
    for kind, pairs in by_kind.items():
        sources, targets = np.unique(np.concatenate(pairs, 1), axis=1)
        apart = sources != targets
        if apart.any():
            joins.append(Join(kind, sources[apart], targets[apart]))
    return tuple(joins)
