"""Parallel paths: modules that take the same input and whose outputs are summed, each on or off.

The value of a choice names the active ones, as in "3+7" for the paths "3" and "7" (`nasplat.space.subset`); a choice of
one path, such as 6 for the path "6", is the same thing. `count_key` tells norms how many are on.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor, nn

from nasplat.elastic.weights.routers import Key
from nasplat.elastic.weights.soft import AnyArch, SoftArch
from nasplat.errors import InvalidArchitecture
from nasplat.space import Arch, Value, members


class ElasticPaths(nn.ModuleDict):
    """The sum of the active paths, each called as path(x, arch) (MixPath, arXiv:2001.05887, equation 1).

    paths: modules by name, in which "+" and "." do not occur. choice: names the active ones; None: all of them are,
    always. A soft architecture weighs each path with the probability that it is active.
    Shapes: x -> that of every path.
    """

    def __init__(self, paths: Mapping[str, nn.Module], choice: str | None) -> None:
        super().__init__(paths)
        self.choice = choice

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        """The sum; InvalidArchitecture when the choice is absent or names no path, or one that there is not."""
        terms: list[Tensor]
        if isinstance(arch, SoftArch):
            terms = [self._weight(name, arch) * path(x, arch) for name, path in self.items()]
        else:
            terms = [self[name](x, arch) for name in self._active(arch)]
        return sum(terms[1:], start=terms[0])

    def _active(self, arch: Arch) -> list[str]:
        if self.choice is None:
            return list(self)
        named = members(arch.get(self.choice))
        if not named or not set(named) <= set(self):
            value, known = arch.get(self.choice), "+".join(self)
            raise InvalidArchitecture(f"{self.choice} is {value!r}: name some of the paths {known}")
        return named

    def _weight(self, name: str, arch: SoftArch) -> Tensor | float:
        return 1.0 if self.choice is None else arch.probability(self.choice, partial(_names_path, name))


def count_key(choice: str, paths: int) -> Key:
    """The number of active paths, less one: what the shadow batch norms of MixPath go by (arXiv:2001.05887, 3.3).

    choice: names the active ones; paths: how many there are at most.
    """
    return Key((choice,), paths, partial(_others, choice))


def _names_path(path: str, value: Value) -> bool:
    return path in members(value)


def _others(choice: str, arch: Mapping[str, Value]) -> int:
    return len(members(arch.get(choice))) - 1
