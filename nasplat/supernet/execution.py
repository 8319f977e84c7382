"""How the architectures of a step run: as slices of the weights, as masks of activations, or folded into one batch.

slice  each architecture does its own work, and no more. The default: on a CPU a sandwich step takes 1.7 times as long
       as its plain networks with masks, and 2.0 times as one folded batch, for a convolutional network; 2.6 and 2.3
       times for a vision transformer (`benchmarks/elastic.py`). Slices take 1.01 and 1.04 times as long.
mask   each architecture does the work of the largest one, always in the same shapes: for compilation to one graph.
vmap   the first architecture of a step, which may teach, runs as a slice, the others as masks in one batch of all:
       for small networks on large GPUs.

The outputs are the same, dropout aside, which is drawn anew. But masks leave running statistics alone, which need
recalibration anyway; they give weights outside a subnet a gradient of 0 instead of none, so that these decay; and
they refuse what cannot be masked, such as a resolution.

Compilation is by torch.compile. It never makes a graph per architecture: of slices the largest and the smallest one
are compiled, which the sandwich rule runs in every step, and others run eagerly; of masks there is one graph, and of
a folded batch one for each number of architectures in it. On GPUs the graphs are replayed as CUDA graphs; outputs
are cloned, since the next replay overwrites them. That was not run on a real GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from nasplat.elastic import Masks, relax
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
    forward: Forward,
    space: Space | None,
    settings: Settings,
    device: torch.device,
    allowed: Sequence[str] | None = None,
) -> Execution:
    """The execution that settings name, one of those allowed, all by default.

    TrainingError for an unknown name, one that is not allowed, or one that needs a space and has none.
    """
    if settings.execution not in EXECUTIONS:
        raise TrainingError(f"execution = {settings.execution!r}: expected one of {', '.join(EXECUTIONS)}")
    if allowed is not None and settings.execution not in allowed:
        raise TrainingError(
            f"execution = {settings.execution!r}: these weights are shared so that they can be trained in"
            f" {', '.join(allowed)} only"
        )
    compiler = partial(compiled, device=device) if settings.compile else None
    run = EXECUTIONS[settings.execution](forward, space, compiler)
    return _marked(run) if settings.compile and device.type == "cuda" else run


def _marked(run: Execution) -> Execution:
    """Tell CUDA graphs where a step begins: what they gave in the one before may be overwritten."""

    def marked(inputs: Tensor, archs: Sequence[Arch]) -> Iterator[list[Tensor]]:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        yield from run(inputs, archs)

    return marked


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


def masks(forward: Forward, space: Space | None, compiler: Compiler | None = None) -> Execution:
    """Every architecture at full size, masked; one graph serves all."""
    call = _masked(forward, known(space), compiler)

    def run(inputs: Tensor, archs: Sequence[Arch]) -> Iterator[list[Tensor]]:
        for vector in relax(known(space), archs, inputs.device):
            yield [call(inputs, vector)]

    return run


def folded(forward: Forward, space: Space | None, compiler: Compiler | None = None) -> Execution:
    """The first architecture as a slice, the others masked and in one batch; dropout is drawn for each."""
    alone = slices(forward, known(space), compiler)
    together = _masked(forward, known(space), None)
    together = torch.vmap(together, in_dims=(None, 0), randomness="different")
    call = compiler(together) if compiler else together

    def run(inputs: Tensor, archs: Sequence[Arch]) -> Iterator[list[Tensor]]:
        yield from alone(inputs, archs[:1])
        if len(archs) > 1:
            yield list(call(inputs, relax(known(space), archs[1:], inputs.device)).unbind())

    return run


def _masked(forward: Forward, space: Space, compiler: Compiler | None) -> Function:
    def masked(inputs: Tensor, vector: Tensor) -> Tensor:
        return forward(inputs, Masks.unpack(space.choices, vector))

    return compiler(masked) if compiler else masked


def compiled(function: Function, device: torch.device) -> Function:
    """torch.compile for inputs of one shape; on a GPU as a CUDA graph, whose outputs are cloned."""
    if device.type != "cuda":
        return torch.compile(function, dynamic=False)
    replay = torch.compile(function, dynamic=False, mode="reduce-overhead")
    return lambda *inputs: replay(*inputs).clone()


EXECUTIONS: dict[str, Callable[[Forward, Space | None, Compiler | None], Execution]] = {
    "slice": slices,
    "mask": masks,
    "vmap": folded,
}
"""Ways to run, by the names in Settings.execution."""
