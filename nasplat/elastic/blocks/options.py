"""Options: what a person may choose in one dimension of a family, checked, as a choice and as a size.

A family takes lists of options as arguments. Several options are a choice; a single one is no choice but a
constant, so that a list can be cut down to one number without another argument.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from nasplat.elastic.sizes import Dimension, Scaled, Size, dimension
from nasplat.errors import NasplatError
from nasplat.space import Choice, Value, ordinal

Number = TypeVar("Number", int, float)
Values: TypeAlias = tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one decision, in the order of growing networks, under the name of its choice.

    >>> Options("width1", (8, 16)).size, Options("kernel1_1", (3,)).size
    (Size(maximum=16, choice='width1'), Size(maximum=3, choice=None))
    """

    name: str
    values: Values
    when: Mapping[str, Sequence[Value]] | None = None

    @property
    def choices(self) -> list[Choice]:
        """The choice among the options; nothing where there is only one."""
        return [ordinal(self.name, self.values, self.when)] if len(self.values) > 1 else []

    @property
    def choice(self) -> str | None:
        """The name of the choice; None where there is only one option."""
        return self.name if len(self.values) > 1 else None

    @property
    def size(self) -> Size:
        """The chosen number as a dimension, such as a kernel or a number of blocks."""
        return Size(int(self.values[-1]), self.choice)

    def times(self, size: int | Dimension, multiple: int = 1) -> Scaled:
        """A size times the chosen factor, as a dimension: a width inside a block, or one with a multiplier."""
        return Scaled(dimension(size), float(self.values[-1]), self.choice, multiple)


@dataclass(frozen=True, slots=True)
class StageOptions:
    """What can be chosen in a stage of blocks: their number, and in each block the same lists of options.

    number: that of the stage, from 1 on. blocks: kind of choice -> options, in the order of the choices. What
    concerns a block matters only where the stage is deep enough for it.

    >>> stage = StageOptions(2, (1, 2), {"kernel": (3, 5)})
    >>> [choice.name for choice in stage.choices]
    ['depth2', 'kernel2_1', 'kernel2_2']
    """

    number: int
    depths: tuple[int, ...]
    blocks: Mapping[str, Values]

    def __len__(self) -> int:
        """The largest number of blocks."""
        return self.depths[-1]

    @property
    def depth(self) -> Options:
        """The numbers of blocks."""
        return Options(f"depth{self.number}", self.depths)

    def block(self, kind: str, number: int) -> Options:
        """The options of a kind in one block, counted from 1."""
        deep = tuple(d for d in self.depths if d >= number)
        when = {self.depth.name: deep} if len(deep) < len(self.depths) else None
        return Options(f"{kind}{self.number}_{number}", self.blocks[kind], when)

    @property
    def choices(self) -> list[Choice]:
        """Depth, then block by block the choices of every kind."""
        numbers = range(1, len(self) + 1)
        options = [self.depth, *(self.block(kind, n) for n in numbers for kind in self.blocks)]
        return [choice for option in options for choice in option.choices]


def choices_of(parts: Iterable[Options | StageOptions]) -> list[Choice]:
    """The choices of a family from its parts, in their order."""
    return [choice for part in parts for choice in part.choices]


def rising(name: str, options: Sequence[Number]) -> tuple[Number, ...]:
    """The options of an argument in rising order; NasplatError for none, or for one that is not above 0.

    name: family and argument, as the message shall name them: "ofa_resnet expand".
    """
    if not _listed(name, options) or not min(options) > 0:
        raise NasplatError(f"{name} = {list(options)}: give at least one number, all above 0")
    return tuple(sorted(options))


def whole(name: str, options: Sequence[float]) -> tuple[int, ...]:
    """Whole numbers in rising order; NasplatError as for `rising`, and for one with a fraction."""
    if any(type(option) is not int for option in _listed(name, options)):
        raise NasplatError(f"{name} = {list(options)}: give whole numbers")
    return rising(name, [int(option) for option in options])


def factors(name: str, options: Sequence[float]) -> tuple[float, ...]:
    """Factors of a size in rising order, as floats; NasplatError as for `rising`."""
    return rising(name, [float(option) for option in _listed(name, options)])


def image_shape(family: str, input_shape: Sequence[int]) -> tuple[int, int, int]:
    """Channels, height and width; NasplatError unless these are three whole numbers above 0."""
    if len(input_shape) != 3 or any(type(side) is not int or side < 1 for side in input_shape):
        raise NasplatError(
            f"{family} input_shape = {list(input_shape)}: give images as (channels, height, width)"
        )
    channels, height, width = input_shape
    return channels, height, width


def _listed(name: str, options: Any) -> Any:
    if not isinstance(options, Sequence) or isinstance(options, str):
        raise NasplatError(f"{name} = {options!r}: give a list of numbers")
    return options


def odd(name: str, kernels: Sequence[int]) -> tuple[int, ...]:
    """Kernels in rising order; NasplatError for an even one, which has no centre."""
    if any(kernel % 2 == 0 for kernel in whole(name, kernels)):
        raise NasplatError(f"{name} = {list(kernels)}: give odd numbers")
    return whole(name, kernels)


def share(name: str, value: float) -> float:
    """A share such as a dropout; NasplatError unless it is 0 or more and below 1."""
    if not 0 <= value < 1:
        raise NasplatError(f"{name} = {value}: give a share from 0 to below 1")
    return value


def per_stage(
    name: str, options: Sequence[int] | Sequence[Sequence[int]], stages: int, growth: int = 1
) -> list[tuple[int, ...]]:
    """The options of each stage: one list for each, or one list that grows by a factor from stage to stage."""
    shared = [o for o in _listed(name, options) if isinstance(o, int)]
    if len(shared) == len(options):
        return [tuple(o * growth**s for o in whole(name, shared)) for s in range(stages)]
    lists = [o for o in options if isinstance(o, Sequence)]
    if len(lists) != stages or len(options) != stages:
        raise NasplatError(f"{name} = {options}: give one list, or one for each of {stages} stages")
    return [whole(name, given) for given in lists]


def fit_strides(
    name: str, given: Sequence[int] | None, published: Sequence[int], side: int, least: int = 3
) -> tuple[int, ...]:
    """The strides of stem and stages for images whose shorter side has so many pixels.

    By default the published ones, of which the first become 1 until `least` pixels are left in the end: small
    images are left large early on. Strides that were given must be as many, and leave a pixel; else NasplatError.
    """
    if given is None:
        last = len(published)
        ones = next((n for n in range(last) if side >= least * math.prod(published[n:])), last)
        return (1,) * ones + tuple(published[ones:])
    if len(_listed(name, given)) != len(published) or any(type(s) is not int or s < 1 for s in given):
        raise NasplatError(f"{name} = {list(given)}: give {len(published)} whole numbers from 1 on")
    if side < math.prod(given):
        raise NasplatError(
            f"{name} = {list(given)} divide the image by {math.prod(given)}: a side of {side} pixels is too small"
        )
    return tuple(given)
