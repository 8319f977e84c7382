"""How large the networks of NAS-Bench-201 are: parameters and multiply-adds in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from nasplat.space import Value

from ._nasbench201_cell import CONV1, CONV3, operations


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything around the cell; as published for CIFAR-10.

    channels: of the first stage, doubled at both reductions. cells: in each of the three stages.
    input_shape: (channels, height, width), sides halved twice. classes: outputs.
    """

    channels: int = 16
    cells: int = 5
    input_shape: tuple[int, int, int] = (3, 32, 32)
    classes: int = 10

    @property
    def stages(self) -> list[tuple[int, int]]:
        """Width and number of pixels of each stage."""
        _, height, width = self.input_shape
        return [(self.channels << halved, (height >> halved) * (width >> halved)) for halved in range(3)]


CIFAR10 = Plan()


def params(arch: Mapping[str, Value], plan: Plan = CIFAR10) -> int:
    """Parameters of a network: every convolution counts, also on dead edges, with scale and bias of its norm.

    From 73,306 (no convolution) to 1,531,546 (six of 3x3) on CIFAR-10.
    """
    widths = [width for width, _ in plan.stages]
    weights = 9 * plan.input_shape[0] * widths[0] + widths[-1] * plan.classes
    weights += sum(_reduction(narrow, wide) for narrow, wide in pairwise(widths))
    norms = 2 * widths[0] + sum(4 * wide for wide in widths[1:]) + 2 * widths[-1]
    taps, convolutions = _taps(arch)
    inside = plan.cells * sum(taps * width**2 + convolutions * 2 * width for width in widths)
    return weights + norms + plan.classes + inside


def macs(arch: Mapping[str, Value], plan: Plan = CIFAR10) -> int:
    """Multiply-adds of convolutions and the classifier for one image; dead edges count, since they are computed.

    From 7,783,040 to 220,119,680 on CIFAR-10.
    """
    (width, pixels), (last, _) = plan.stages[0], plan.stages[-1]
    fixed = 9 * plan.input_shape[0] * width * pixels + last * plan.classes
    fixed += sum(_reduction(narrow, wide) * few for (narrow, _), (wide, few) in pairwise(plan.stages))
    taps, _ = _taps(arch)
    return fixed + plan.cells * sum(taps * width**2 * pixels for width, pixels in plan.stages)


def _reduction(narrow: int, wide: int) -> int:
    """Weights of the convolutions between two stages: two of 3x3 and a 1x1 beside them."""
    return 9 * narrow * wide + 9 * wide**2 + narrow * wide


def _taps(arch: Mapping[str, Value]) -> tuple[int, int]:
    """Kernel positions of all convolutions of a cell together, and how many convolutions there are."""
    chosen = list(operations(arch).values())
    ones, threes = chosen.count(CONV1), chosen.count(CONV3)
    return ones + 9 * threes, ones + threes
