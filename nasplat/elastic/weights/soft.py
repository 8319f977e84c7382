"""Relaxed architectures: a distribution over the values of every choice, instead of one value.

Under a soft architecture every weight keeps its full size and is multiplied by the expected mask of its crop,

    sum_j p_j pad(slice_j W) = W * M(p),    M(p) = sum_j p_j mask_j        (TangleNAS, arXiv:2312.10440)

with j over the joint values of the choices that cut the weight. Where p is one-hot this is the subnet, run at full
size. What is decided in Python, such as a resolution, has no mask: reading its choice raises InvalidArchitecture.

A soft architecture is also one vector: the probabilities of all choices, one after the other. `relax` makes those of
architectures, and several subnets run at once as

    vmap(lambda vector: net(x, Masks.unpack(space.choices, vector)))(relax(space, archs))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from nasplat.elastic.sizes import Dimension, Size
from nasplat.elastic.weights.reading import tensors_may_be_kept
from nasplat.elastic.weights.rows import Centred, Equal, Leading, Row, possible_sizes, table
from nasplat.errors import InvalidArchitecture, expected_one_of
from nasplat.space import Arch, Choice, Space, Value

Soft = TypeVar("Soft", bound="SoftArch")
TOLERANCE = 1e-3


class SoftArch(Mapping[str, Value]):
    """An architecture whose choices are distributions: layers multiply their weights by expected masks.

    choices: those of the space; probabilities: for each a tensor (number of values,) that sums to 1, on the device of
    the network; it may require a gradient. Choices are independent, and each has its distribution whether it matters
    or not. InvalidArchitecture for other names, lengths or sums. Sums are not looked at where `trusted`: in vmap,
    under torch.compile, or in order not to wait for a GPU.
    """

    def __init__(
        self, choices: Sequence[Choice], probabilities: Mapping[str, Tensor], *, trusted: bool = False
    ) -> None:
        self.choices = {choice.name: choice for choice in choices}
        self.probabilities = dict(probabilities)
        self._masks: dict[Dimension, Tensor] = {}
        for name in {**self.probabilities, **self.choices}:
            self._check(name, trusted)

    @classmethod
    def unpack(cls: type[Soft], choices: Sequence[Choice], vector: Tensor) -> Soft:
        """The soft architecture of a vector (number of all values,), whose sums are trusted."""
        parts = torch.split(vector, [len(choice.values) for choice in choices])
        return cls(choices, {c.name: p for c, p in zip(choices, parts, strict=True)}, trusted=True)

    @classmethod
    def one_hot(
        cls: type[Soft], space: Space, arch: Mapping[str, Value], device: torch.device | str | None = None
    ) -> Soft:
        """The soft form of one architecture; a choice that does not matter in it has its largest value."""
        return cls.unpack(space.choices, relax(space, [arch], device)[0])

    def __getitem__(self, name: str) -> Value:
        values = self.choices[name].values
        if len(values) > 1:
            raise InvalidArchitecture(f"{name} is soft and cannot be masked: use execution 'slice'")
        return values[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self.choices)

    def __len__(self) -> int:
        return len(self.choices)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def probability(self, choice: str, accept: Callable[[Value], bool]) -> Tensor:
        """The probability () that a choice has a value that is accepted."""
        p = self.probabilities[choice]
        accepted = [p[i] for i, value in enumerate(self.choices[choice].values) if accept(value)]
        return sum(accepted, start=p.new_zeros(()))

    def mask(self, dimension: Dimension) -> Tensor:
        """The expected mask (maximum,) of a size: entry r is the probability that the size is above r."""
        keeps = self.keeps()
        if keeps and dimension in self._masks:
            return self._masks[dimension]
        mask = self.expectation(dimension.choices, Leading(dimension))
        if keeps and not (mask.requires_grad or mask.is_inference()):
            self._masks[dimension] = mask  # the others serve one pass only
        return mask

    def keeps(self) -> bool:
        """Whether what is computed of the probabilities may be kept: they do not learn, which changes them."""
        return tensors_may_be_kept() and not any(p.requires_grad for p in self.probabilities.values())

    def sizes(self, dimension: Dimension) -> dict[int, Tensor]:
        """The probability () of every size that a dimension can have, in rising order."""
        sizes = self.possible(dimension)
        probabilities = self.expectation(dimension.choices, Equal(dimension, sizes))
        return dict(zip(sizes, probabilities.unbind(), strict=True))

    def possible(self, dimension: Dimension) -> tuple[int, ...]:
        """The sizes that a dimension can have, in rising order."""
        return possible_sizes(dimension, self._named(dimension.choices))

    def is_whole(self, dimension: Dimension) -> bool:
        """Whether a dimension always has its full size, so that nothing of it is masked."""
        return self.possible(dimension) == (dimension.maximum,)

    def expectation(self, names: Sequence[str], *rows: Row) -> Tensor:
        """The mean (m,) of a row of numbers that depends on the named choices; of several, of their outer product."""
        choices, p = self._named(names), self._joint(names)
        tables = [table(row, choices, p.dtype, p.device) for row in rows]
        letters = "abcdefgh"[: len(rows)]
        with torch.autocast(p.device.type, enabled=False):
            return torch.einsum(f"j,{','.join('j' + letter for letter in letters)}->{letters}", p, *tables)

    def crop(self, tensor: Tensor, dimensions: Sequence[Dimension]) -> Tensor:
        """A full-size tensor (O, I, *K) times the expected mask of its slice: leading rows and columns, centred K."""
        for axes in _linked(dimensions):
            names = dict.fromkeys(name for axis in axes for name in dimensions[axis].choices)
            rows = [(Centred if axis > 1 else Leading)(dimensions[axis]) for axis in axes]
            shape = [n if axis in axes else 1 for axis, n in enumerate(tensor.shape)]
            tensor = tensor * self.expectation(tuple(names), *rows).reshape(shape)
        return tensor

    def _named(self, names: Sequence[str]) -> tuple[Choice, ...]:
        for name in names:
            if name not in self.choices:
                raise InvalidArchitecture(f"no choice is {name!r}: {expected_one_of(name, self.choices)}")
        return tuple(self.choices[name] for name in names)

    def _joint(self, names: Sequence[str]) -> Tensor:
        """The probabilities (combinations,) of some choices together, in the order of `assignments`."""
        p = next(iter(self.probabilities.values()), torch.empty(0)).new_ones(1)
        for name in names:
            p = (p[:, None] * self.probabilities[name]).flatten()
        return p

    def _check(self, name: str, trusted: bool) -> None:
        self._named([name])
        if name not in self.probabilities:
            raise InvalidArchitecture(f"{name} has no probabilities: give a tensor for every choice")
        p, n = self.probabilities[name].detach(), len(self.choices[name].values)
        if p.shape != (n,):
            raise InvalidArchitecture(
                f"{name} has {n} values: give ({n},) probabilities, not {tuple(p.shape)}"
            )
        if not trusted and (bool((p < 0).any()) or abs(float(p.sum()) - 1) > TOLERANCE):
            raise InvalidArchitecture(f"the probabilities of {name} are {p.tolist()}: expected a sum of 1")


class Masks(SoftArch):
    """A soft architecture under which weights stay whole, but for kernels, and layers mask what they put out.

    The outputs are those of SoftArch where p is one-hot. As the weights are the same for all architectures, vmap over
    several runs one large convolution in each place; only elastic kernels make one for each. Norms mask their weight
    and bias instead, and in training work by the statistics of the batch without moving the running ones.
    """

    def crop(self, tensor: Tensor, dimensions: Sequence[Dimension]) -> Tensor:
        """A full-size tensor times the expected mask of its centred kernel, of all rows and columns."""
        return super().crop(tensor, [*(Size(d.maximum) for d in dimensions[:2]), *dimensions[2:]])


AnyArch: TypeAlias = Arch | SoftArch


def mask_channels(y: Tensor, channels: Dimension, arch: AnyArch, axis: int = 1) -> Tensor:
    """Under `Masks`, y times the mask of the channels along an axis; else y itself, which has no channel too many."""
    if not isinstance(arch, Masks) or arch.is_whole(channels):
        return y
    mask = arch.mask(channels).to(y.dtype)
    return y * mask.reshape(-1, *(1 for _ in range(axis % y.dim() + 1, y.dim())))


def relax(
    space: Space, archs: Sequence[Mapping[str, Value]], device: torch.device | str | None = None
) -> Tensor:
    """The one-hot vectors (k, number of all values) of architectures, in one copy to the device.

    A choice that does not matter in an architecture has its largest value. InvalidArchitecture for an unknown name.
    """
    known = {choice.name for choice in space.choices}
    for name in (name for arch in archs for name in arch if name not in known):
        raise InvalidArchitecture(f"no choice is {name!r}: {expected_one_of(name, known)}")
    rows = [
        [
            float(i == c.index(arch.get(c.name, c.largest)))
            for c in space.choices
            for i in range(len(c.values))
        ]
        for arch in archs
    ]
    return torch.tensor(rows).to(device)


def _linked(dimensions: Sequence[Dimension]) -> list[list[int]]:
    """The axes whose sizes depend on choices, in groups that have no choice in common."""
    groups: list[list[int]] = []
    for axis, dimension in enumerate(dimensions):
        names = set(dimension.choices)
        linked = [g for g in groups if any(names.intersection(dimensions[other].choices) for other in g)]
        groups = [g for g in groups if g not in linked]
        groups += [[*(other for g in linked for other in g), axis]] if names else []
    return [sorted(group) for group in groups]
