"""What a probe is, what it gets to see, and that it leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nasplat.data import Dataset, Split, derived_seed
from nasplat.elastic import extract, recalibrate
from nasplat.space import Arch, Space

PROBE = 4  # what a seed is derived for, beside those of the training


@dataclass(frozen=True, slots=True)
class Look:
    """A supernet in the middle of its training, after `epoch` epochs, on `device`, and what goes with it.

    calibration: training inputs (n, ...) on the device, batch by batch, on which the norms of a subnet are
    recalibrated before it is judged. raw: it is judged by the running statistics that all architectures share.
    asked: the architectures that were trained since the last look, where somebody wrote them down.
    seed: of all that a probe draws; the same draws at every look make looks comparable.
    """

    net: nn.Module
    space: Space
    data: Dataset
    epoch: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seed: int = 0
    calibration: Sequence[Tensor] = ()
    raw: bool = False
    asked: Sequence[Arch] = ()

    def subnet(self, arch: Arch) -> nn.Module:
        """An architecture as it would be judged now: extracted, recalibrated unless raw, in evaluation mode."""
        module: nn.Module = extract(self.net, arch)
        if not self.raw:
            recalibrate(module, self.calibration)
        return module.eval()

    def batch(self, split: Split, size: int) -> tuple[Tensor, Tensor]:
        """The first examples of a split, on the device."""
        return split.inputs[:size].to(self.device), split.targets[:size].to(self.device)


class Probe(Protocol):
    """A diagnostic that reads a training and changes nothing. Its docstring states cost and source."""

    @property
    def unit(self) -> str:
        """The unit of its numbers, "1" for plain ones."""
        ...

    def __call__(self, at: Look, before: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Named numbers, nested at will, None where there is none; `before`: what it gave at the last look."""
        ...


def look(at: Look, probe: Probe, before: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """What a probe says about a training, which then goes on as if nobody had looked."""
    with untouched(at.net, at.device):
        torch.manual_seed(derived_seed(at.seed, PROBE))
        return probe(at, before)


@contextmanager
def untouched(net: nn.Module, device: torch.device) -> Iterator[None]:
    """Afterwards buffers, gradients, modes and random numbers are what they were. Weights are nobody's to change."""
    modes = [(module, module.training) for module in net.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in net.buffers()]
    gradients = [(parameter, parameter.grad) for parameter in net.parameters()]
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, gradient in gradients:
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, content in buffers:
                buffer.copy_(content)
