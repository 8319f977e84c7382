"""A space of listed architectures: the rows of a table, where most combinations of choices are in none of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.files import json_hash
from nasplat.space import Arch, Choice, Space, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

NEAR = 16
"""So many nearest rows are the neighbours that mutation draws from."""


class Listed(Space):
    """Some architectures of another space, given as a list; choices, keys, words and builder stay.

    Samplers draw the choices as before; a draw that is not listed becomes the listed architecture that is nearest in
    the space's encoding (the smallest Euclidean distance; the first of several). So every draw is a row, and rows in
    thin regions come more often than others. `sample` draws rows all alike. Every row is a neighbour of every other,
    the nearest first.
    """

    def __init__(self, space: Space, archs: Sequence[Arch], name: str | None = None) -> None:
        if not archs:
            raise NasplatError(f"space {space.name!r} was listed without an architecture: give at least one")
        super().__init__(
            name or space.name,
            space.choices,
            input_shape=space.input_shape,
            constants=space.constants,
            notation=space.notation,
        )
        self.archs = tuple(dict.fromkeys(archs))
        self.inner = space

    @cached_property
    def size(self) -> int:
        """The number of rows."""
        return len(self.archs)

    @property
    def description(self) -> dict[str, Any]:
        """That of the space, with a hash of the rows' keys."""
        return super().description | {"listed": json_hash(sorted(self._rows))}

    def arch(self, values: Mapping[str, Any]) -> Arch:
        """The canonical architecture of given values; InvalidArchitecture also for one that is not listed."""
        arch = self.inner.arch(values)
        if arch.key not in self._rows:
            raise InvalidArchitecture(
                f"{self.notation.spell(arch)} is not among the {self.size} listed architectures"
            )
        return arch

    @property
    def has_networks(self) -> bool:
        """Whether the inner space builds networks."""
        return self.inner.has_networks

    def build(self, arch: Mapping[str, Value], seed: int = 0) -> nn.Module:
        """The network that the inner space builds."""
        return self.inner.build(arch, seed)

    def restrict(self, values: Mapping[str, Sequence[Value]]) -> Self:
        """The rows that have one of the given values wherever a named choice is active."""
        if not values:
            return super().restrict(values)
        inner = self.inner.restrict(values)
        kept = [
            a for a in self.archs if all(name not in a or a[name] in legal for name, legal in values.items())
        ]
        return type(self)(inner, kept, self.name)

    def extended(self, choices: Sequence[Choice]) -> Self:
        """NasplatError: rows have no further choices."""
        raise NasplatError(f"the rows of space {self.name!r} have no further choices")

    def from_params(self, params: Mapping[str, Any]) -> Arch:
        """The row nearest to the architecture of flat Optuna parameters."""
        return self.nearest(self.inner.from_params(params))

    def nearest(self, arch: Arch) -> Arch:
        """The row nearest to an architecture of the inner space: itself where it is listed."""
        return arch if arch.key in self._rows else self.archs[int(self._distances(arch).argmin())]

    def sample(self, rng: np.random.Generator) -> Arch:
        """A row, all alike."""
        return self.archs[int(rng.integers(self.size))]

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """One of the nearest other rows."""
        near = list(islice(self.neighbours(arch), NEAR))
        if not near:
            raise NasplatError(f"space {self.name!r} has a single architecture: nothing can change")
        return near[int(rng.integers(len(near)))]

    def cross(self, a: Arch, b: Arch, rng: np.random.Generator) -> Arch:
        """The row nearest to a child of both in the inner space."""
        child = self.inner.cross(a, b, rng)
        return self.nearest(child)

    def neighbours(self, arch: Arch) -> Iterator[Arch]:
        """All other rows, the nearest first."""
        order = self._distances(arch).argsort(kind="stable")
        return (self.archs[row] for row in order if self.archs[row] != arch)

    def enumerate(self) -> Iterator[Arch]:
        """All rows in their order."""
        return iter(self.archs)

    def smallest(self) -> Arch:
        """The row nearest to the smallest architecture of the inner space."""
        return self.nearest(self.inner.smallest())

    def largest(self) -> Arch:
        """The row nearest to the largest architecture of the inner space."""
        return self.nearest(self.inner.largest())

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {arch.key: row for row, arch in enumerate(self.archs)}

    @cached_property
    def _codes(self) -> NDArray[np.float32]:
        import numpy as np

        return np.stack([self.inner.encode(arch) for arch in self.archs])

    def _distances(self, arch: Arch) -> NDArray[np.float32]:
        """Squared distances of an architecture from every row, (rows,)."""
        gaps: NDArray[np.float32] = self._codes - self.inner.encode(arch)
        squared: NDArray[np.float32] = (gaps * gaps).sum(axis=1)
        return squared
