"""The processes that train one network together, each on its share of every batch.

    torchrun --nproc-per-node 2 train.py        # where train.py calls init_world() before train(...)

Data parallelism by hand, because DistributedDataParallel does not fit a supernet: it wants one forward pass before
each backward pass, and a bucket order that holds for all steps, while a step here runs several architectures, each
with other unused parameters. Instead each process accumulates the gradients of its share over all architectures of a
step, and one flat all-reduce averages them. Every process asks for the same architectures, so the same parameters
have gradients everywhere.

A checkpoint is written by the main process and read by all, so it belongs where each can read it. An error in one
process alone, such as a full disk, leaves the others waiting; torchrun then ends them.

On GPUs, nccl averages gradients and gloo the few flags of the control flow; that pair was not run on real GPUs yet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nasplat.errors import TrainingError
from nasplat.measure import pick_device


@dataclass(frozen=True, slots=True)
class World:
    """This process, `rank` of `size`; alone by default, where every method returns what it got."""

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def share(self, examples: Tensor) -> Tensor:
        """This process's rows (n / size, ...) of a whole batch (n, ...). TrainingError where it does not divide."""
        part, rest = divmod(len(examples), self.size)
        if rest:
            raise TrainingError(
                f"a batch of {len(examples)} examples does not divide among {self.size} processes;"
                f" give a batch_size that is a multiple of {self.size}"
            )
        return examples[self.rank * part : (self.rank + 1) * part]

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The means over all processes of tensors that have the same shapes and devices everywhere.

        By one all-reduce for each device: streamed weights have their gradients on the CPU.
        """
        if self.size == 1:
            return list(tensors)
        means: dict[torch.device, Iterator[Tensor]] = {}
        for device in dict.fromkeys(tensor.device for tensor in tensors):
            means[device] = iter(self._mean([tensor for tensor in tensors if tensor.device == device]))
        return [next(means[tensor.device]) for tensor in tensors]

    def _mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        parts = (flat / self.size).split_with_sizes([tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def average(self, net: nn.Module, losses: Sequence[Tensor]) -> list[Tensor]:
        """Average the gradients of a network, in place, and losses, which are returned, over all processes."""
        if self.size == 1:
            return list(losses)
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        *means, averaged = self.mean([*gradients, torch.stack(list(losses))])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean)
        return list(averaged)

    def any(self, *flags: bool) -> list[bool]:
        """Whether a flag is up in any process, for each flag; every process waits for the others."""
        return [bool(number) for number in self._largest(*flags)]

    def agree(self, number: int) -> bool:
        """Whether a number is the same in every process."""
        highest, lowest = self._largest(number, -number)
        return highest == -lowest

    def _largest(self, *numbers: int) -> list[int]:
        if self.size == 1:
            return list(numbers)
        together = torch.tensor(numbers)
        dist.all_reduce(together, dist.ReduceOp.MAX)
        largest: list[int] = together.tolist()
        return largest

    @torch.no_grad()
    def follow_main(self, net: nn.Module) -> None:
        """Copy parameters and buffers from the main process."""
        for tensor in net.state_dict().values() if self.size > 1 else ():
            packed = tensor.contiguous()
            dist.broadcast(packed, 0)
            tensor.copy_(packed)

    def close(self) -> None:
        """Leave the others, at the end of the program; the threads that worked for them have ended then."""
        if self.size > 1:
            dist.destroy_process_group()


def this_world() -> World:
    """The processes that torch.distributed knows of."""
    if not dist.is_available() or not dist.is_initialized():
        return World()
    return World(dist.get_rank(), dist.get_world_size())


def init_world(device: str = "cpu") -> World:
    """Join the processes that torchrun started with this one, by its environment; alone where it did not.

    Each process of a machine takes a GPU of its own, which "cuda" then means. TrainingError where there are too few.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return World()
    if pick_device(device).type != "cuda":
        return _join("gloo")
    local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= gpus or device.startswith("cuda:"):
        raise TrainingError(
            f'device = "{device}" for process {local} of a machine with {gpus} GPUs: give "cuda", and one GPU each'
        )
    torch.cuda.set_device(local)
    return _join("cpu:gloo,cuda:nccl")


def _join(backends: str) -> World:
    """Join the others in such a way that `close` ends gloo's threads.

    They live as long as anything holds the group, and the functions of torch.distributed.nn, which the first optimiser
    imports, have the group of that moment as a default. So they come first, when there is none. A thread of gloo that
    lets go of its last tensor while the interpreter leaves would abort it: "terminate called without an active
    exception".
    """
    import_module("torch.distributed.nn.functional")
    dist.init_process_group(backends)
    return this_world()
