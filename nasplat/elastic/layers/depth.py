"""Elastic depth: the first blocks of a list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from nasplat.elastic.sizes import Dimension, check_size, dimension
from nasplat.elastic.weights.soft import AnyArch, SoftArch
from nasplat.errors import NasplatError
from nasplat.space import Choice


class ElasticDepth(nn.ModuleList):
    """A list of elastic blocks, called as block(x, arch), of which the first d run.

    A block that may be left out must keep the shape of its input. Under a soft architecture all run, and block i
    gives P f_i(x) + (1 - P) x with P the probability that the depth is above i.
    """

    def __init__(self, blocks: Iterable[nn.Module], depth: int | Dimension) -> None:
        super().__init__(blocks)
        self.depth = dimension(depth)

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        if isinstance(arch, SoftArch):
            return self._soft(x, arch)
        for block in list(self)[: self.depth(arch)]:
            x = block(x, arch)
        return x

    def check(self, choices: Sequence[Choice]) -> None:
        """NasplatError when the depth can be above the number of blocks, or its choice is unknown."""
        check_size(self.depth, choices, least=0)
        if self.depth.maximum > len(self):
            raise NasplatError(
                f"a depth of up to {self.depth.maximum} over {len(self)} blocks: give as many blocks"
            )

    def _soft(self, x: Tensor, arch: SoftArch) -> Tensor:
        always = arch.possible(self.depth)[0]
        for i, p in enumerate(arch.mask(self.depth).unbind()):
            y = self[i](x, arch)
            x = y if i < always else p * y + (1 - p) * x  # exact for p of 0 and 1
        return x
