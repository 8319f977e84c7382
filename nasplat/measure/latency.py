"""Latency of a network on a device: a median with its spread, and the protocol that gave it."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.measure.device import DeviceInfo, device_info, pick_device

NOISY_SPREAD = 0.10
"""A result is noisy when its inter-quartile range is more than this share of its median."""

SAMPLE_MS = 0.5
"""Shorter runs are timed several at once: 500 to 5,000 times the resolution of the clocks."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """When to stop: after `minimum` repeats, once the median is known to `precision` or `budget_s` is spent.

    precision: half the width of the 95 % interval of the median, over the median. Warm-up takes at least
    `warmup_s` and ends when a block of runs is under 5 % faster than the one before, or after budget_s / 2.
    """

    minimum: int = 20
    precision: float = 0.01
    warmup_s: float = 0.05
    budget_s: float = 1.0


STANDARD = Repeats()


@dataclass(frozen=True, slots=True)
class LatencyResult:
    """Median and inter-quartile range of n repeats, milliseconds for the whole batch; how and where."""

    median_ms: float
    iqr_ms: float
    n: int
    device: DeviceInfo
    protocol: dict[str, Any]
    noisy: bool


def measure_latency(
    module: nn.Module,
    example: Tensor,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    threads: int | None = None,
    channels_last: bool = False,
    repeats: Repeats = STANDARD,
) -> LatencyResult:
    """Time the forward pass of a copy of `module` on `example` (n, ...): evaluation mode, no gradients.

    Clocks: CUDA events on a GPU, synchronised, one pair per repeat; `perf_counter_ns` on a CPU.
    dtype: converts weights and inputs (None keeps them). threads: of torch on the CPU while it measures
    (None keeps the current number). channels_last: memory format of four-dimensional tensors.
    Raises NasplatError when the device is not here; `noisy` is set by NOISY_SPREAD.
    """
    place = pick_device(str(device))
    network, inputs = _prepared(module, example, place, dtype, channels_last)
    with torch_threads(threads), torch.inference_mode():
        clock = _cuda_clock(network, inputs, place) if place.type == "cuda" else _cpu_clock(network, inputs)
        warm_runs, run_ms = _warm_up(clock, repeats)
        inner = max(1, math.ceil(SAMPLE_MS / run_ms))
        samples = _samples(lambda: clock(inner), repeats)
        protocol = _setting(inputs, channels_last) | {
            "warmup_runs": warm_runs,
            "inner_loops": inner,
            "repeats": len(samples),
            "budget_s": repeats.budget_s,
        }
    lower, median, upper = (float(p) for p in np.percentile(samples, [25, 50, 75]))
    noisy = upper - lower > NOISY_SPREAD * median
    return LatencyResult(median, upper - lower, len(samples), device_info(place), protocol, noisy)


def _setting(inputs: Tensor, channels_last: bool) -> dict[str, Any]:
    """What was chosen before the first run."""
    return {
        "clock": "cuda events" if inputs.is_cuda else "perf_counter_ns",
        "threads": torch.get_num_threads(),
        "dtype": str(inputs.dtype).removeprefix("torch."),
        "batch": int(inputs.shape[0]),
        "input_shape": list(inputs.shape[1:]),
        "memory_format": "channels_last" if channels_last else "contiguous",
        "matmul_precision": torch.get_float32_matmul_precision(),
    }


def _prepared(
    module: nn.Module, example: Tensor, device: torch.device, dtype: torch.dtype | None, channels_last: bool
) -> tuple[nn.Module, Tensor]:
    """A copy of the module and the example as they will be timed."""
    network = copy.deepcopy(module).eval().to(device=device, dtype=dtype)
    cast = dtype if dtype is not None and example.is_floating_point() else example.dtype
    inputs = example.detach().to(device=device, dtype=cast)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    for parameter in network.parameters():
        if parameter.ndim == 4:  # a copied module keeps the layout of its original
            parameter.data = parameter.data.clone(memory_format=memory_format)
    return network, inputs.clone(memory_format=memory_format) if inputs.ndim == 4 else inputs


Clock = Callable[[int], float]
"""Runs the network the given number of times; milliseconds of one run."""


def _cpu_clock(network: nn.Module, inputs: Tensor) -> Clock:
    def clock(inner: int) -> float:
        start = time.perf_counter_ns()
        for _ in range(inner):
            network(inputs)
        return (time.perf_counter_ns() - start) / inner / 1e6

    return clock


def _cuda_clock(network: nn.Module, inputs: Tensor, device: torch.device) -> Clock:
    def clock(inner: int) -> float:
        with torch.cuda.device(device):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
            start.record()
            for _ in range(inner):
                network(inputs)
            end.record()
            end.synchronize()
        return float(start.elapsed_time(end)) / inner

    return clock


def _warm_up(clock: Clock, repeats: Repeats, block: int = 5) -> tuple[int, float]:
    """Run until the network gets no faster; number of runs and milliseconds of one."""
    start = time.perf_counter()
    runs, before = 0, math.inf
    while True:
        now = statistics.median(clock(1) for _ in range(block))
        runs += block
        spent = time.perf_counter() - start
        steady = spent >= repeats.warmup_s and now > 0.95 * before
        if steady or spent >= repeats.budget_s / 2:
            return runs, now
        before = now


def _samples(sample: Callable[[], float], repeats: Repeats) -> list[float]:
    """Repeat until the median is known well enough, or the time is spent."""
    start = time.perf_counter()
    samples = [sample() for _ in range(repeats.minimum)]
    while time.perf_counter() - start < repeats.budget_s and _uncertainty(samples) > repeats.precision:
        samples += [sample() for _ in range(max(5, len(samples) // 4))]
    return samples


def _uncertainty(samples: list[float]) -> float:
    """Half the width of the 95 % interval of the median over the median, by order statistics."""
    ordered = sorted(samples)
    n = len(ordered)
    reach = 0.98 * math.sqrt(n)  # 1.96 standard deviations of Binomial(n, 1/2)
    low, high = max(0, math.floor(n / 2 - reach)), min(n - 1, math.ceil(n / 2 + reach))
    return (ordered[high] - ordered[low]) / (2 * statistics.median(ordered))


@contextmanager
def torch_threads(number: int | None) -> Iterator[None]:
    """Inside the block torch has this many threads on the CPU; None leaves them as they are."""
    if number is not None and number < 1:
        raise NasplatError(f"threads = {number} cannot measure; give a number from 1 up, or leave it out")
    before = torch.get_num_threads()
    torch.set_num_threads(before if number is None else number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
