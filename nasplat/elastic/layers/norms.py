"""Norms of elastic networks, and the policies by which they cope with architectures that share them.

The distribution of what enters a norm depends on the architecture, so one running mean for all of them is a blend
that fits none. Policies, by the names in NORMS and what a study does with them:

    batch               running statistics, recalibrated for every subnet before it is judged (Once-for-All,
                        arXiv:1908.09791); without recalibration they are shared raw by all architectures
    keyed               weights and running statistics of their own for every value of a key: switchable for each
                        width (arXiv:1812.08928), shadow for each number of paths (MixPath, arXiv:2001.05887)
    batch_statistics    always the statistics of the batch, also in evaluation; none are kept
    group               group norm (arXiv:1803.08494): statistics of each image, nothing to recalibrate
    evonorm_s0          norm and activation in one, statistics of each image (arXiv:2004.02967)

A norm is a module called norm(x, arch), for x (n, c, h, w), but for ElasticLayerNorm, which takes x (..., c).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from nasplat.elastic.layers.base import activate
from nasplat.elastic.layers.batch_norms import ElasticBatchNorm2d, ElasticBatchStatistics2d
from nasplat.elastic.layers.group_norms import ElasticEvoNorm2d, ElasticGroupNorm
from nasplat.elastic.sizes import Dimension, dimension
from nasplat.elastic.weights.routers import Key
from nasplat.elastic.weights.soft import AnyArch
from nasplat.errors import NasplatError, expected_one_of


@dataclass(frozen=True, slots=True)
class Norms:
    """Which norm a network uses: a name in NORMS, the key of "keyed", the channels of a group for the last two.

    NasplatError for an unknown name, a keyed norm without a key, or a group without a channel.
    """

    name: str = "batch"
    key: Key | None = None
    group: int = 8

    def __post_init__(self) -> None:
        if self.name not in NORMS:
            raise NasplatError(f"no norm is named {self.name!r}: {expected_one_of(self.name, NORMS)}")
        if self.name == "keyed" and self.key is None:
            raise NasplatError("keyed norms need a key: give Norms('keyed', key=Key(...))")
        if self.group < 1:
            raise NasplatError(f"a group of {self.group} channels: give at least 1")

    def norm(self, channels: int | Dimension) -> nn.Module:
        """A norm of so many channels, called as norm(x, arch)."""
        return NORMS[self.name](dimension(channels), self)

    def activated(self, channels: int | Dimension, activation: nn.Module) -> nn.Module:
        """A norm and the activation after it, called as norm(x, arch); EvoNorm-S0 brings its own."""
        if self.name == "evonorm_s0":
            return ElasticEvoNorm2d(channels, self.group)
        return Activated(self.norm(channels), activation, dimension(channels))


def norms_without_key(family: str, name: str, group: int = 8) -> Norms:
    """The norms of a family whose architectures have no key; NasplatError for "keyed" names the others."""
    if name == "keyed":
        known = ", ".join(other for other in NORMS if other != name)
        raise NasplatError(f"{family} norm = 'keyed': its norms have no key; choose one of {known}")
    return Norms(name, group=group)


class Activated(nn.Module):
    """A norm of so many channels, then an activation. Shapes: x (n, c, h, w) -> (n, c, h, w)."""

    def __init__(self, norm: nn.Module, activation: nn.Module, channels: Dimension) -> None:
        super().__init__()
        self.norm, self.activation, self.channels = norm, activation, channels

    def forward(self, x: Tensor, arch: AnyArch) -> Tensor:
        return activate(self.activation, self.norm(x, arch), self.channels, arch)


NORMS: dict[str, Callable[[Dimension, Norms], nn.Module]] = {
    "batch": lambda channels, norms: ElasticBatchNorm2d(channels),
    "keyed": lambda channels, norms: ElasticBatchNorm2d(channels, key=norms.key),
    "batch_statistics": lambda channels, norms: ElasticBatchStatistics2d(channels),
    "group": lambda channels, norms: ElasticGroupNorm(channels, norms.group),
    "evonorm_s0": lambda channels, norms: ElasticGroupNorm(channels, norms.group),
}
"""The norm of a place without activation, by name."""
