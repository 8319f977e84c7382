"""What a run through a network finds out about its channels, written down as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nasplat.channels.spec import Frozen
from nasplat.channels.values import NONE, along

HALF = 2**30
"""Numbers of neurons and blocks lie between -HALF and HALF, so that a pair of them is one whole number."""


@dataclass(slots=True)
class Row:
    """A row of neurons: numbers start to start + size; see `structure.Neurons`."""

    name: str
    kind: str
    start: int
    size: int
    activation: str = ""

    @property
    def numbers(self) -> Tensor:
        """(size,)."""
        return torch.arange(self.start, self.start + self.size)


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """A weight as edges; like `structure.Block`, in numbers of the ledger. out: the axis of its targets."""

    parameter: str
    kind: str
    sources: Tensor
    targets: Tensor
    kernel: tuple[int, ...]
    axes: int
    split: tuple[int, ...]
    order: tuple[int, ...]
    out: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """An axis of a tensor with the numbers (groups, length) that it carries."""

    parameter: str
    axis: int
    numbers: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A tensor whose elements belong to one neuron each: numbers, of the tensor's shape; column: see COLUMNS."""

    parameter: str
    column: str
    numbers: Tensor


@dataclass(slots=True, eq=False)
class Ledger:
    """Rows of neurons and blocks, and what ties, joins, groups and freezes them.

    ties and merges hold pairs of numbers (2, n): the same channel, and the very same neuron. seconds are neurons that
    were merged as the second of two, see `structure.SIDES`. groups hold members (g, n) with the g blocks (negative
    numbers) that they form, or None where it is one set of channels that an operation reads alike. mixed are weights
    that were computed with in ways that are not known; computed are those that gave something else, whatever reads
    it. reads are the numbers that an operation read, and how often each. loose are rows of neurons that stand for
    single elements until an operation reads them as channels.
    """

    rows: list[Row] = field(default_factory=list)
    count: int = 1
    blocks: int = 0
    ties: list[Tensor] = field(default_factory=list)
    merges: list[Tensor] = field(default_factory=list)
    seconds: list[Tensor] = field(default_factory=list)
    groups: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)
    joins: list[tuple[str, Tensor]] = field(default_factory=list)
    edges: dict[str, Edges] = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)
    bindings: dict[tuple[str, int], Binding] = field(default_factory=dict)
    frozen: list[tuple[Tensor, Frozen]] = field(default_factory=list)
    mixed: list[tuple[str, Frozen]] = field(default_factory=list)
    computed: list[tuple[str, Frozen]] = field(default_factory=list)
    reads: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    ends: dict[str, list[Tensor]] = field(default_factory=lambda: {"input": [], "output": []})
    loose: list[Row] = field(default_factory=list)
    taken: dict[str, set[int]] = field(default_factory=dict)
    paired: set[int] = field(default_factory=set)

    def row(self, name: str, kind: str, size: int) -> Row:
        """A new row of neurons."""
        row = Row(name, kind, self.count, size)
        self.rows.append(row)
        self.count += size
        return row

    def rows_of(self, numbers: Tensor) -> list[Row]:
        """The rows that neurons were made in."""
        starts = torch.tensor([row.start for row in self.rows])
        found = numbers.unique()
        places = torch.searchsorted(starts, found[found > NONE], right=True).unique() - 1
        return [self.rows[place] for place in places.tolist()]

    def tie(self, first: Tensor, second: Tensor) -> None:
        """Elements of equal place belong to the same channel; those that belong to none are passed over."""
        self.ties.extend(_pairs(first, second))

    def merge(self, first: Tensor, second: Tensor) -> None:
        """They are the same neuron."""
        self.merges.extend(_pairs(first, second))

    def pair(self, first: Tensor, second: Tensor) -> bool:
        """Make one neuron of two at every place, where that is one to one and neither is of two already."""
        pairs = different_pairs(torch.stack((first.reshape(-1), second.reshape(-1))))
        alone = all(len(one.unique()) == len(one) for one in pairs) and bool((pairs > NONE).all())
        if not alone or not self.paired.isdisjoint(pairs.reshape(-1).tolist()):
            return False
        self.paired.update(pairs.reshape(-1).tolist())
        self.merges.append(pairs)
        self.seconds.append(pairs[1])
        return True

    def join(self, kind: str, sources: Tensor, targets: Tensor) -> None:
        """Edges without weights between different neurons; they tie unless the kind is "attention" or "opaque"."""
        pairs = [pair[:, (pair > NONE).all(0)] for pair in _pairs(sources, targets)]
        self.joins.extend((kind, pair) for pair in pairs if pair.numel())
        if kind not in ("attention", "opaque"):
            self.tie(sources, targets)

    def group(self, members: Tensor) -> Tensor:
        """Blocks that channels (g, n) form: their numbers (g,), or NONE where there is one block."""
        if len(members) == 1:
            self.groups.append((members, None))
            return torch.tensor([NONE])
        blocks = -torch.arange(self.blocks + 1, self.blocks + 1 + len(members))
        self.blocks += len(members)
        self.groups.append((members, blocks))
        return blocks

    def sets(self, sets: Sequence[Tensor]) -> Tensor:
        """Sets of channels that an operation reads alike: one number for each, see `rules.norms.over`."""
        sets = [one[one != NONE] for one in sets]
        found = torch.tensor([int(one[0]) if len(one) == 1 else NONE for one in sets])
        large = [place for place, one in enumerate(sets) if len(one) > 1]
        if large and len({len(sets[place]) for place in large}) == 1:
            found[large] = self.group(torch.stack([sets[place] for place in large]))
        for place in large if large and len({len(sets[place]) for place in large}) > 1 else ():
            self.group(sets[place].reshape(1, -1))
        return found

    def level(self, numbers: Tensor, *axes: int) -> Tensor:
        """Who stands along some axes, flattened together, whatever the place on the others: (length,).

        Where several do, they are tied; single elements of the input become one neuron.
        """
        rows = along(numbers, *axes)
        if len(rows) == 1:
            return rows[0]
        other = torch.where(rows.max(0).values > NONE, rows.max(0).values, rows.min(0).values)
        first = torch.where(rows[0] == NONE, other, rows[0])
        both = self.is_loose(rows) & self.is_loose(first)
        self.merge(torch.where(both, rows, NONE), first)
        self.join("position", torch.where(both, NONE, rows), first)
        return first

    def column(self, numbers: Tensor, *axes: int, name: str, uniform: bool = False) -> Tensor:
        """`level`, with neurons everywhere: places that belong to nobody, such as zero padding, get their own, and
        so do blocks. Places keep their order, unless all hold one constant."""
        found = self.level(numbers, *axes)
        made = found <= NONE
        if made.any():
            row = self.row(name, "constant", int(made.sum()))
            self.tie(row.numbers, found[made])
            if not uniform:
                self.ends["input"].append(row.numbers[found[made] == NONE])
            found = found.clone()
            found[made] = row.numbers
        return found

    def owned(self, found: Tensor, name: str) -> Tensor:
        """Blocks among numbers get neurons of their own; places that belong to nobody stay."""
        if not bool((found < NONE).any()):
            return found
        blocks = found[found < NONE].unique()
        row = self.row(name, "constant", len(blocks))
        self.tie(row.numbers, blocks)
        places = torch.searchsorted(blocks, found).clamp(max=len(blocks) - 1)
        return torch.where(found < NONE, row.numbers[places], found)

    def constant(self, parameter: str, shape: torch.Size) -> Column:
        """A parameter used as it stands: a neuron for each element, whose bias is the element."""
        row = self.row(parameter, "constant", shape.numel())
        self.loose.append(row)
        self.columns[parameter] = Column(parameter, "bias", row.numbers.reshape(shape))
        return self.columns[parameter]

    def is_loose(self, numbers: Tensor) -> Tensor:
        """Which of them are single elements of the input, or of a parameter used as it stands."""
        found = torch.zeros_like(numbers, dtype=torch.bool)
        for row in self.loose:
            found |= (numbers >= row.start) & (numbers < row.start + row.size)
        return found

    def read(self, numbers: Tensor) -> None:
        """An operation reads these, each as often as it stands there."""
        still = tuple(slice(None) if step else 0 for step in numbers.stride())
        self.reads.append(numbers[still].unique(return_counts=True))

    def take(self, column: str, numbers: Tensor) -> None:
        """These neurons now carry a number in that column."""
        self.taken.setdefault(column, set()).update(numbers.tolist())

    def is_taken(self, column: str, numbers: Tensor) -> bool:
        """Whether one of these neurons carries a number in that column already."""
        return not self.taken.get(column, set()).isdisjoint(numbers.tolist())

    def bind(self, parameter: str, axis: int, numbers: Tensor) -> None:
        """An axis carries these channels; bound again, both are tied."""
        numbers = numbers.reshape(-1, numbers.shape[-1])
        known = self.bindings.setdefault((parameter, axis), Binding(parameter, axis, numbers))
        if known.numbers is not numbers:
            self.tie(known.numbers, numbers)

    def freeze(self, numbers: Sequence[Tensor], why: Frozen) -> None:
        """The order of these channels may have a meaning."""
        found = (
            torch.cat([one.unique() for one in numbers]).unique()
            if numbers
            else torch.empty(0, dtype=torch.long)
        )
        self.frozen.append((found[found != NONE], why))


def _pairs(first: Tensor, second: Tensor) -> list[Tensor]:
    """Different pairs of numbers (2, n) at equal places of two tensors that broadcast, none of them NONE."""
    if first is second or not first.numel():
        return []
    first, second = torch.broadcast_tensors(first, second)
    moving = [
        axis
        for axis, size in enumerate(first.shape)
        if size > 1 and (first.stride(axis) or second.stride(axis))
    ]
    index = tuple(slice(None) if axis in moving else 0 for axis in range(first.ndim))
    pairs = torch.stack((first[index].reshape(-1), second[index].reshape(-1)))
    pairs = pairs[:, (pairs != NONE).all(0) & (pairs[0] != pairs[1])]
    return [different_pairs(pairs)] if pairs.numel() else []


def different_pairs(pairs: Tensor) -> Tensor:
    """The different columns of pairs (2, n) of small whole numbers, in order; `unique` of one number is far faster."""
    keys = ((pairs[0] + HALF) * (2 * HALF) + pairs[1] + HALF).unique()
    return torch.stack((keys.div(2 * HALF, rounding_mode="floor"), keys % (2 * HALF))) - HALF
