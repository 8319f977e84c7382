"""How the architectures of a step run: as slices of the weights, as masks of activations, or folded into one batch.

The numbers are the same (batch statistics and dropout aside, which are drawn anew); what differs is the price.

slice  each architecture does its own work, and no more. The default: on a CPU, and wherever a step is worth its work.
mask   each architecture does the work of the largest one, always in the same shapes: for compilation to one graph.
vmap   the first architecture of a step, which may teach, runs as a slice; the others as masks in one batch of all.

Masks and vmap leave running statistics alone; they need recalibration anyway. They refuse choices that cannot be
masked, such as a resolution.

Compilation is by torch.compile. It never makes a graph per architecture: of slices the largest and the smallest one
are compiled, which the sandwich rule runs in every step, and others run eagerly; of masks there is one graph, and of
a folded batch one per number of architectures in it. On GPUs the graphs are replayed as CUDA graphs; outputs are
cloned, since the next replay overwrites them. That was not run on a real GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from nasplat.errors import TrainingError
from nasplat.space import Arch, Space
from nasplat.supernet.place import Forward
from nasplat.supernet.recipe import Settings

Function = Callable[..., Tensor]
Compiler = Callable[[Function], Function]


class Execution(Protocol):
    """Runs the architectures of a step."""

    def __call__(self, inputs: Tensor, archs: Sequence[Arch]) -> Iterator[list[Tensor]]:
        """The outputs of the architectures in their order, group by group; each group is one graph of autograd.

        A group runs when it is asked for, when the graph of the one before is gone. The first is of one architecture.
        """
        ...


def make_execution(
    forward: Forward, space: Space | None, settings: Settings, device: torch.device
) -> Execution:
    """The execution that settings name. TrainingError for an unknown name, or one that needs a space and has none."""
    if settings.execution not in EXECUTIONS:
        raise TrainingError(f"execution = {settings.execution!r}: expected one of {', '.join(EXECUTIONS)}")
    compiler = partial(compiled, device=device) if settings.compile else None
    return EXECUTIONS[settings.execution](forward, space, compiler)


def slices(forward: Forward, space: Space | None, compiler: Compiler | None = None) -> Execution:
    """Every architecture for itself, with weights of its own size."""
    calls: dict[Arch, Function] = {}
    if compiler:
        for arch in {known(space).largest(), known(space).smallest()}:
            calls[arch] = compiler(_of(forward, arch))

    def run(inputs: Tensor, archs: Sequence[Arch]) -> Iterator[list[Tensor]]:
        for arch in archs:
            yield [calls[arch](inputs) if arch in calls else forward(inputs, arch)]

    return run


def _of(forward: Forward, arch: Arch) -> Function:
    def fixed(inputs: Tensor) -> Tensor:
        return forward(inputs, arch)

    return fixed


def known(space: Space | None) -> Space:
    """The space of a schedule. TrainingError where there is none."""
    if space is None:
        raise TrainingError(
            "this execution asks for the choices of the space: give Schedule(..., space=space)"
        )
    return space


def compiled(function: Function, device: torch.device) -> Function:
    """torch.compile for inputs of one shape; on a GPU as a CUDA graph, whose outputs are cloned."""
    if device.type != "cuda":
        return torch.compile(function, dynamic=False)
    replay = torch.compile(function, dynamic=False, mode="reduce-overhead")
    return lambda *inputs: replay(*inputs).clone()


EXECUTIONS: dict[str, Callable[[Forward, Space | None, Compiler | None], Execution]] = {"slice": slices}
"""Ways to run, by the names in Settings.execution."""
