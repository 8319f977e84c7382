"""A tree of splits: every architecture has the weights of the leaf in which it ends.

The router of few-shot NAS (arXiv:2006.06863) and of gradient matching (arXiv:2203.15207). One tree serves all
layers; it grows while the weights are trained, so its structure is data: in buffers, whose shapes never change.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn

from nasplat.elastic.sizes import Dimension
from nasplat.elastic.weights.reading import LastRead
from nasplat.elastic.weights.replace import mixes_already
from nasplat.elastic.weights.routers import Key, OneHot
from nasplat.elastic.weights.soft import AnyArch, SoftArch
from nasplat.elastic.weights.sources import Bank, Constant, Crop, Router, WeightSource
from nasplat.errors import InvalidArchitecture
from nasplat.space import Choice, Space, Value

UNSPLIT = -1
Fork: TypeAlias = tuple[str, dict[Value, int]]  # the name of a choice, and the side of each of its values


class Tree(nn.Module):
    """A binary tree of architectures, `splits` splits deep, that starts as a single leaf.

    A node is split by the values of a choice. Architectures in which that choice is inactive go to side 0, and so
    do all where a node is not split (yet). Side 0 keeps the leaf of its parent: with sides s_0, s_1, ... from the root,
    the leaf is sum_d s_d 2^d, so that 2^d leaves are in use after d rounds of splits.

    choice (nodes,): the position in `choices` of what splits a node, or UNSPLIT; side (nodes, values): 0 or 1 for each
    of its values. The children of node n are 2n + 1 and 2n + 2.
    """

    choice: Tensor
    side: Tensor

    def __init__(self, choices: Sequence[Choice], splits: int) -> None:
        super().__init__()
        self.choices, self.splits, self.leaves = tuple(choices), splits, 2**splits
        nodes, values = self.leaves - 1, max((len(c.values) for c in choices), default=0)
        self.register_buffer("choice", torch.full((nodes,), UNSPLIT))
        self.register_buffer("side", torch.zeros(nodes, values, dtype=torch.long))
        self._forks = LastRead[list[Fork | None]]([None] * nodes)

    def leaf(self, arch: Mapping[str, Value]) -> int:
        """The number of the leaf that an architecture belongs to."""
        forks, node, leaf = self.forks(), 0, 0
        for depth in range(self.splits):
            name, sides = forks[node] or ("", {})
            side = sides[arch[name]] if name in arch else 0
            node, leaf = 2 * node + 1 + side, leaf | side << depth
        return leaf

    def forks(self) -> list[Fork | None]:
        """What splits each node; None where nothing does."""
        return self._forks(self._read, self.choice, self.side)

    def _read(self) -> list[Fork | None]:
        rows = zip(self.choice.tolist(), self.side.tolist(), strict=True)
        return [None if c == UNSPLIT else self._fork(c, sides) for c, sides in rows]

    def _fork(self, choice: int, sides: Sequence[int]) -> Fork:
        found = self.choices[choice]
        return found.name, dict(
            zip(found.values, sides, strict=False)
        )  # rows are as long as the longest choice

    @torch.no_grad()
    def split(self, node: int, choice: str, second: Sequence[Value]) -> None:
        """Split a node: architectures with one of the values `second` of a choice go to side 1."""
        position, found = next((i, c) for i, c in enumerate(self.choices) if c.name == choice)
        self.choice[node] = position
        for value in second:
            self.side[node, found.index(value)] = 1

    def nodes(self, depth: int) -> Iterator[tuple[int, int, int]]:
        """The nodes at a depth below `splits`, each with the leaves of its two sides."""
        first = 2**depth - 1
        for node in range(first, 2 * first + 1):
            leaf = sum(side << d for d, (_, side) in enumerate(_path(node)))
            yield node, leaf, leaf | 1 << depth

    def part(self, space: Space, node: int) -> Space:
        """The space of exactly those architectures that come to a node."""
        for above, side in _path(node):
            name, sides = self.forks()[above] or ("", {})
            if name:
                space = _side(
                    space, name, [value for value, s in sides.items() if s == side], active=side == 1
                )
        return space


def _path(node: int) -> list[tuple[int, int]]:
    """The nodes above one, from the root, each with the side on which the path goes on."""
    if node == 0:
        return []
    above, side = divmod(node - 1, 2)
    return [*_path(above), (above, side)]


def _side(space: Space, name: str, values: Sequence[Value], *, active: bool) -> Space:
    """The architectures with one of the values of a choice, and those where it is inactive unless it must be active."""
    choice = next(c for c in space.choices if c.name == name)
    if active:
        for other, legal in choice.when:
            open_values = next(c.values for c in space.choices if c.name == other)
            space = _side(space, other, [value for value in open_values if value in legal], active=True)
    return space.restrict({name: [value for value in choice.values if value in values]})


@dataclass(frozen=True, slots=True)
class LeafKey(Key):
    """The leaf of an architecture, as a key. It changes when the tree grows, so no table of it may be kept."""

    def distribution(self, arch: SoftArch) -> Tensor:
        """InvalidArchitecture: what a split decides is decided in Python."""
        raise InvalidArchitecture("weights that are split by a tree cannot be masked: use execution 'slice'")


def _leaf_router(tree: Tree, router: Router, name: str) -> OneHot:
    """One atom for each leaf, or for each leaf and key where there was a key already."""
    names = tuple(choice.name for choice in tree.choices)
    if isinstance(router, Constant) and len(router.coefficients) == 1:
        return OneHot(LeafKey(names, tree.leaves, tree.leaf))
    if isinstance(router, OneHot):
        return OneHot(LeafKey(names, tree.leaves * len(router.key), partial(_leaf_and_key, tree, router.key)))
    raise mixes_already(name, router)


def _leaf_and_key(tree: Tree, key: Key, arch: Mapping[str, Value]) -> int:
    return tree.leaf(arch) * len(key) + key(arch)


class LeafCrop(nn.Module):
    """A crop that learns, once for each leaf."""

    def __init__(self, crop: nn.Module, tree: Tree) -> None:
        super().__init__()
        self.crops = nn.ModuleList([crop, *(copy.deepcopy(crop) for _ in range(tree.leaves - 1))])
        self.leaf = tree.leaf  # the bound method, since the tree is the network's

    def forward(self, tensor: Tensor, dimensions: Sequence[Dimension], arch: AnyArch) -> Tensor:
        cropped: Tensor = self.crops[self.leaf(arch)](tensor, dimensions, arch)
        return cropped


class ForkedSource(WeightSource):
    """A source with a complete set of weights for each leaf of a tree; all start as the weights that were there.

    NasplatError, with the layer's name, for a source that mixes atoms already.
    """

    def __init__(self, source: WeightSource, tree: Tree, name: str) -> None:
        router = _leaf_router(tree, source.router, name)
        crop: Crop = LeafCrop(source.crop, tree) if isinstance(source.crop, nn.Module) else source.crop
        super().__init__(Bank(source.bank.slot, len(router.key)), router, crop)
        self.each = len(source.bank)
        with torch.no_grad():
            for tensor in source.bank.slot.tensors:
                for k, atom in enumerate(self.bank.atoms(tensor)):
                    atom.copy_(source.bank.atoms(tensor)[k % self.each])

    def sets(self, leaf: int) -> list[dict[str, Tensor]]:
        """The atoms of a leaf, each as its tensors by name."""
        names = self.bank.slot.tensors
        return [
            {name: self.bank.atoms(name)[k] for name in names}
            for k in range(leaf * self.each, (leaf + 1) * self.each)
        ]

    def weights(self, leaf: int) -> list[Tensor]:
        """All parameters of a leaf, in the same order for each."""
        bank = [tensor for atom in self.sets(leaf) for tensor in atom.values()]
        return bank + (list(self.crop.crops[leaf].parameters()) if isinstance(self.crop, LeafCrop) else [])

    @torch.no_grad()
    def reset(self, leaf: int) -> None:
        """Draw the weights of a leaf anew."""
        for atom in self.sets(leaf):
            self.bank.slot.initialise(atom)
        if isinstance(self.crop, LeafCrop):
            for module in self.crop.crops[leaf].modules():
                draw = getattr(module, "reset_parameters", None)
                if draw is not None:
                    draw()
