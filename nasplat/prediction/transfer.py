"""The role of predictors that know others of a kind before they learn one, such as devices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self, TypeAlias

from numpy.typing import ArrayLike

from nasplat.prediction.predictor import Predictor
from nasplat.prediction.sample import Sample

Measured: TypeAlias = tuple[Sequence[Sample], ArrayLike]
"""Samples and what was measured of them on one device, (n,)."""


class Transfer(Predictor):
    """Learns a new device from few samples, by what a pool of known devices has in common.

    `pretrain` comes before `fit`. A pool is kept and loaded like any predictor, before or after it has learned a
    device; `fit` on a loaded one learns another.
    """

    @property
    @abstractmethod
    def known(self) -> Mapping[str, Any]:
        """The known devices by name; none before `pretrain`."""

    @property
    @abstractmethod
    def is_fitted(self) -> bool:
        """Whether it has learned a new device, so that it can predict."""

    @abstractmethod
    def pretrain(self, pool: Mapping[str, Measured]) -> Self:
        """Learn the known devices, two or more, each from its own samples; a fitted new one is forgotten."""

    @abstractmethod
    def without(self, devices: Collection[str]) -> Self:
        """Another predictor that knows all but these devices, and no new one."""
