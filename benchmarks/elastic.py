"""What elasticity costs: one sliced step against the same step of the plain static subnet.

    python benchmarks/elastic.py [--quick]

A step is forward, loss and backward with zero_grad, in fp32 on one CPU thread. Variants take turns step by step and
are compared by their median CPU time; the control row compares the static subnet with a copy of itself and shows
the noise of the machine. The goal: slice/static <= 1.10, static/static <= 1.05.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.elastic import ElasticSpace, extract
from nasplat.plugins import load
from nasplat.space import Arch

WIDTH = [16, 24, 32]
SUBNETS = {"half width": 0, "3/4 width": 1, "full": 2}


def main() -> None:
    """Print the table and the line of figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repeats, under two minutes on 2 cores")
    rounds = 25 if parser.parse_args().quick else 100
    torch.set_num_threads(1)
    torch.manual_seed(0)
    make = load("spaces", "elastic_convnet")
    space = make(input_shape=(3, 32, 32), classes=10, depth=[1, 2], width=WIDTH)
    print(f"forward + backward, batch 32 of 3x32x32, {rounds} rounds, 1 thread, median CPU time")
    print(f"{'subnet':<12}{'static ms':>10}{'slice ms':>10}{'slice/static':>14}{'static/static':>15}")
    figures: dict[str, float] = {"slice_over_static": 0.0, "static_over_static": 0.0}
    for name, position in SUBNETS.items():
        arch = space.arch({c.name: c.values[min(position, len(c.values) - 1)] for c in space.choices})
        static, sliced, control = step_times(space, arch, rounds)
        ratios = {"slice_over_static": sliced / static, "static_over_static": control / static}
        print(f"{name:<12}{static:>10.2f}{sliced:>10.2f}{sliced / static:>14.3f}{control / static:>15.3f}")
        figures = {key: max(figures[key], ratio) for key, ratio in ratios.items()}
    figures |= making_times(make(input_shape=(1, 16, 16), classes=10), rounds)
    print(f"one random subnet of the default space: extract {figures['extract_ms']:.1f} ms, ", end="")
    print(f"build {figures['build_ms']:.1f} ms")
    print(json.dumps({"figures": {key: round(value, 3) for key, value in figures.items()}}))


def step_times(space: ElasticSpace, arch: Arch, rounds: int) -> list[float]:
    """Median CPU milliseconds of a step: plain static subnet, supernet slice, copy of the static subnet."""
    net = space.supernet()
    static = extract(net, arch)
    control = copy.deepcopy(static)
    x, y = torch.randn(32, 3, 32, 32), torch.randint(10, (32,))
    steps = [step(static, lambda: static(x), y), step(net, lambda: net(x, arch), y)]
    steps.append(step(control, lambda: control(x), y))
    return interleaved(steps, rounds)


def step(module: nn.Module, forward: Callable[[], Tensor], y: Tensor) -> Callable[[], None]:
    """One training step without its optimiser."""

    def run() -> None:
        module.zero_grad(set_to_none=True)
        F.cross_entropy(forward(), y).backward()

    return run


def interleaved(actions: list[Callable[[], object]], rounds: int) -> list[float]:
    """Median CPU milliseconds of each action; they take turns, and who begins changes with each round."""
    times: list[list[float]] = [[] for _ in actions]
    for turn in range(-3, rounds):
        for i in range(len(actions)):
            which = (i + turn) % len(actions)
            start = time.process_time_ns()
            actions[which]()
            if turn >= 0:  # the first rounds warm up
                times[which].append((time.process_time_ns() - start) / 1e6)
    return [median(t) for t in times]


def making_times(space: ElasticSpace, rounds: int) -> dict[str, float]:
    """Median CPU milliseconds to extract and to build a random subnet."""
    net, rng = space.supernet(), np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(rounds)]
    turns = {
        "extract_ms": [lambda arch=arch: extract(net, arch) for arch in archs],
        "build_ms": [lambda arch=arch: space.build(arch) for arch in archs],
    }
    space.build(archs[0])  # the first call makes the blueprint
    return {key: median(interleaved([make], 1)[0] for make in makes) for key, makes in turns.items()}


if __name__ == "__main__":
    main()
