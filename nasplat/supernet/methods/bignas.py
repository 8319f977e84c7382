"""BigNAS: one stage of training in which the largest network teaches all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from nasplat.supernet.methods.sandwich import SandwichTraining


@dataclass(frozen=True, slots=True)
class BigNASTraining(SandwichTraining):
    """The sandwich, in which only the largest hears labels, and the others only the largest (arXiv:2003.11142).

    That is `sandwich` with alpha = 1. The paper's learning rate curve with a constant ending, its start of
    residual blocks at zero and its regularisation of the largest network alone are left out.

    Control: the sandwich by labels.
    """

    control: ClassVar[Mapping[str, Any]] = {"method": "sandwich"}

    alpha: float = 1.0
