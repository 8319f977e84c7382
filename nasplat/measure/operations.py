"""What each operation of a network costs in its place, so that other networks are sums of what was measured."""

from __future__ import annotations

import copy
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from nasplat.errors import NasplatError
from nasplat.measure.device import DeviceInfo, device_info, pick_device
from nasplat.measure.latency import Repeats, torch_threads
from nasplat.measure.size import evaluating

STANDARD = Repeats(precision=0.0, budget_s=0.5)
"""Each network runs 20 times, and further until the budget is spent: one operation takes microseconds."""

LEAST = 5
"""So many networks are timed at least, where there are as many: machines have slow moments."""


@dataclass(frozen=True, slots=True)
class OperationCosts:
    """What operations cost on a device, in milliseconds.

    costs: by the name of an operation, which says its kind, the shapes that go in and its arguments. call_ms: what
    every operation takes beside its own time, in the calls between them. networks: how many were timed.
    """

    costs: Mapping[str, float]
    call_ms: float
    networks: int
    device: DeviceInfo

    def total(self, names: Sequence[str]) -> float:
        """The latency of a network that runs these operations; NasplatError for one that was not measured."""
        unknown = [name for name in names if name not in self.costs]
        if unknown:
            raise NasplatError(f"operation {unknown[0]} was not measured: measure a network that runs it")
        return sum(self.costs[name] for name in names) + self.call_ms * len(names)


def operations(module: nn.Module, example: Tensor) -> list[str]:
    """The operations of a forward pass in evaluation mode on `example` (n, ...), by name, in their order."""
    watch = _Watch(lambda: None, named=True)
    with evaluating(module), torch.inference_mode(), watch:
        module(example)
    return watch.names


def measure_operations(
    networks: Iterable[nn.Module],
    example: Tensor,
    *,
    device: torch.device | str = "cpu",
    threads: int | None = None,
    repeats: Repeats = STANDARD,
) -> tuple[OperationCosts, list[list[str]]]:
    """Time the operations of networks in their places, and name those of each network, in order.

    The first LEAST networks are timed, and those that run an operation not seen before; the others run once. Whole
    forward passes in evaluation mode on `example`, with a clock around each operation, go by turns with passes that
    have one clock around the whole. Caches are thus as they are in a network; an operation by itself, again and again,
    is faster. Costs are medians over repeats and places; `call_ms` is the median of what the whole takes beyond its
    operations.
    Clocks: CUDA events on a GPU, `perf_counter_ns` on a CPU. threads: of torch on the CPU (None keeps the number).
    """
    place = pick_device(str(device))
    inputs, durations, beyond = example.to(place), defaultdict[str, list[float]](list), list[float]()
    found, timed = list[list[str]](), 0
    with torch_threads(threads), torch.inference_mode():
        for module in networks:
            network = copy.deepcopy(module).eval().to(place)
            names = operations(network, inputs)
            found.append(names)
            if timed >= LEAST and durations.keys() >= set(names):
                continue
            timed += 1
            runs = _timed(network, inputs, len(names), repeats)
            for name, *each in zip(names, *(run.each for run in runs), strict=True):
                durations[name] += each
            beyond.append(statistics.median((run.whole - sum(run.each)) / len(names) for run in runs))
    if not found:
        raise NasplatError("no networks were given: give one or more, whose operations are to be measured")
    costs = {name: statistics.median(times) for name, times in durations.items()}
    return OperationCosts(costs, max(0.0, statistics.median(beyond)), timed, device_info(place)), found


@dataclass(frozen=True, slots=True)
class _Run:
    """Milliseconds of a plain pass, and of each operation in the pass after it."""

    whole: float
    each: list[float]


def _timed(network: nn.Module, inputs: Tensor, number: int, repeats: Repeats) -> list[_Run]:
    """Plain and watched passes by turns, after warming up."""
    stamp, milliseconds = _clock(inputs)
    runs: list[_Run] = []
    begin = time.perf_counter()
    while True:
        start, _, end = stamp(), network(inputs), stamp()
        with _Watch(stamp) as watch:
            network(inputs)
        whole, each = milliseconds(start, end), [milliseconds(a, b) for a, b in watch.stamps]
        if len(each) != number:
            raise NasplatError(
                "the network runs other operations each time: extract a fixed architecture first"
            )
        spent = time.perf_counter() - begin
        if spent >= repeats.warmup_s:
            runs.append(_Run(whole, each))
        if len(runs) >= repeats.minimum and spent >= repeats.warmup_s + repeats.budget_s:
            return runs


Stamp = Callable[[], Any]


def _clock(inputs: Tensor) -> tuple[Stamp, Callable[[Any, Any], float]]:
    """What notes a moment, and the milliseconds between two."""
    if not inputs.is_cuda:
        return time.perf_counter_ns, lambda start, end: (end - start) / 1e6

    def stamp() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(inputs.device))
        return event

    def milliseconds(start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        end.synchronize()
        return float(start.elapsed_time(end))

    return stamp, milliseconds


class _Watch(TorchDispatchMode):
    """Notes the moments before and after each operation, and its name if asked: naming takes time."""

    def __init__(self, stamp: Stamp, named: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stamp, self.named = stamp, named
        self.stamps: list[tuple[Any, Any]] = []
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self.named:
            self.names.append(_name(func, args, kwargs or {}))
        start = self.stamp()
        result = func(*args, **(kwargs or {}))
        self.stamps.append((start, self.stamp()))
        return result


def _name(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The operation with its arguments, tensors by shape, memory layout and type."""

    def spelled(value: Any) -> str:
        if not isinstance(value, Tensor):
            return repr(value)
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}{list(value.stride())}"

    words = [*map(str, tree_map(spelled, list(args))), *(f"{k}={spelled(v)}" for k, v in kwargs.items())]
    return f"{str(operation).removeprefix('aten.')}({', '.join(words)})"
