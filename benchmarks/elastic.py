"""What elasticity costs: steps of subnets inside a supernet against the same steps of plain static networks.

    python benchmarks/elastic.py [--quick]
    python benchmarks/elastic.py --gpu [--quick]

A step is forward, loss and backward with zero_grad, without the optimiser. Variants take turns step by step and are
compared by their medians; the control row, a second copy of the static networks, shows the noise of the machine.
On the CPU: fp32, one thread, CPU time; the goal is slice/static <= 1.10, control <= 1.05. With --gpu: bfloat16, wall
time between synchronisations, ImageNet-like sizes; the goal is a sandwich step <= 1.05 times its plain subnets.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.elastic import ElasticSpace, extract
from nasplat.errors import NasplatError
from nasplat.measure import device_info
from nasplat.plugins import load
from nasplat.space import Arch
from nasplat.supernet import Settings
from nasplat.supernet.execution import Execution, make_execution
from nasplat.supernet.place import Place, bring, find_place

Step = Callable[[], object]
SUBNETS = {"half width": 0, "3/4 width": 1, "full": 2}
CONV = {"depth": [1, 2], "width": [16, 24, 32]}
VIT = {"depth": [2, 3, 4], "width": [32, 48, 64], "patch": 4}
SLICED, MASKED, FOLDED = ({"execution": name} for name in ("slice", "mask", "vmap"))
ELASTIC: dict[str, dict[str, Any]] = {
    "slice": SLICED,
    "mask": MASKED,
    "vmap": FOLDED,
    "slice compiled": {**SLICED, "compile": True},
    "mask compiled": {**MASKED, "compile": True},
    "vmap compiled": {**FOLDED, "compile": True},
}


@dataclass(frozen=True, slots=True)
class Case:
    """Architectures of one step, in a space, and the batch that they see."""

    title: str
    space: ElasticSpace
    archs: tuple[Arch, ...]
    batch: int

    def examples(self, place: Place) -> tuple[Tensor, Tensor]:
        """Random images and labels."""
        shape = self.space.input_shape or ()
        x = torch.randn(self.batch, *shape, device=place.device)
        if place.channels_last:
            x = x.to(memory_format=torch.channels_last)
        return x, torch.randint(10, (self.batch,), device=place.device)


def steps(case: Case, place: Place, names: Iterable[str]) -> dict[str, Step]:
    """The variants of a case by name; each steps through all of its architectures."""
    net = case.space.supernet()
    x, y = case.examples(place)
    plain = [extract(net, arch) for arch in case.archs]
    for module in (net, *plain):
        bring(module, place)
    found: dict[str, Step] = {}
    for name in names:
        if name in ELASTIC:
            settings = Settings(device=str(place.device), **ELASTIC[name])
            run = make_execution(place.forward(net), case.space, settings, place.device)
            found[name] = elastic_step(net, run, case.archs, (x, y))
        else:
            modules = [copy.deepcopy(module) for module in plain[: 1 if name == "largest" else None]]
            calls = [torch.compile(m, dynamic=False) for m in modules] if "compiled" in name else modules
            found[name] = static_step(modules, calls, place, (x, y))
    return found


def elastic_step(net: nn.Module, run: Execution, archs: Sequence[Arch], batch: tuple[Tensor, Tensor]) -> Step:
    """A step of a supernet: gradients of all architectures add up."""

    def step() -> None:
        net.zero_grad(set_to_none=True)
        for outputs in run(batch[0], archs):
            torch.autograd.backward([F.cross_entropy(o, batch[1]) for o in outputs])

    return step


def static_step(
    modules: Sequence[nn.Module], calls: Sequence[Any], place: Place, batch: tuple[Tensor, Tensor]
) -> Step:
    """The same work by plain networks, one after the other."""
    forward = place.forward(lambda x, call: call(x))

    def step() -> None:
        for module, call in zip(modules, calls, strict=True):
            module.zero_grad(set_to_none=True)
            torch.autograd.backward(F.cross_entropy(forward(batch[0], call), batch[1]))

    return step


def cpu_ms() -> float:
    """CPU time of this process."""
    return time.process_time_ns() / 1e6


def gpu_ms() -> float:
    """Wall time, once the GPU has nothing left to do."""
    torch.cuda.synchronize()
    return time.perf_counter_ns() / 1e6


def interleaved(actions: Sequence[Step], rounds: int, clock: Callable[[], float]) -> list[float]:
    """Median milliseconds of each action; they take turns, and who begins changes with each round."""
    times: list[list[float]] = [[] for _ in actions]
    for turn in range(-3, rounds):
        for i in range(len(actions)):
            which = (i + turn) % len(actions)
            start = clock()
            actions[which]()
            if turn >= 0:  # the first rounds warm up
                times[which].append(clock() - start)
    return [median(t) for t in times]


def measure(case: Case, place: Place, names: Sequence[str], rounds: int) -> dict[str, float]:
    """Median milliseconds of each variant that runs here; why another does not is printed."""
    running: dict[str, Step] = {}
    for name, step in steps(case, place, names).items():
        try:
            start = time.perf_counter()
            step()
            running[name] = step
            if "compiled" in name:
                print(f"  {name}: the first step took {time.perf_counter() - start:.0f} s")
        except (NasplatError, torch.OutOfMemoryError) as error:
            print(f"  {name}: {error}")
    clock = gpu_ms if place.device.type == "cuda" else cpu_ms
    return dict(zip(running, interleaved(list(running.values()), rounds, clock), strict=True))


def report(case: Case, times: Mapping[str, float]) -> dict[str, float]:
    """A row for each variant, printed; the ratios to static."""
    print(case.title)
    for name, ms in times.items():
        print(f"  {name:<16}{ms:>10.2f} ms{ms / times['static']:>10.3f}")
    return {name.replace(" ", "_"): ms / times["static"] for name, ms in times.items() if name != "static"}


def on_cpu(quick: bool) -> dict[str, float]:
    """Single subnets of a convolutional network, then sandwich steps of it and of a vision transformer."""
    torch.set_num_threads(1)
    place, rounds = find_place(Settings(device="cpu")), 15 if quick else 100
    make = load("spaces", "elastic_convnet")
    space = make(input_shape=(3, 32, 32), classes=10, **CONV)
    print(f"one subnet: batch 32 of 3x32x32, {rounds} rounds, 1 thread, median CPU time, ratio to static")
    figures: dict[str, float] = {}
    for name, position in SUBNETS.items():
        arch = space.arch({c.name: c.values[min(position, len(c.values) - 1)] for c in space.choices})
        case = Case(f"elastic_convnet, {name}", space, (arch,), 32)
        found = report(case, measure(case, place, ["static", "control", "slice", "mask"], rounds))
        for key, name in {"slice": "slice", "mask": "mask", "static": "control"}.items():
            figures[f"{key}_over_static"] = max(figures.get(f"{key}_over_static", 0.0), found[name])
    compiled = (
        [] if quick or not shutil.which("g++") else ["static compiled", "slice compiled", "mask compiled"]
    )
    if not compiled:
        print("nothing is compiled: torch.compile takes minutes here, and a C++ compiler; not with --quick")
    vit = load("spaces", "elastic_vit")(input_shape=(3, 32, 32), classes=10, **VIT)
    for name, family in {"conv": space, "vit": vit}.items():
        case = sandwich(f"elastic_{name}, a step of largest, smallest and two random subnets", family, 32)
        names = ["static", "control", *(n for n in ELASTIC if "compiled" not in n), *compiled]
        found = report(case, measure(case, place, names, rounds // 3))
        figures |= {f"{name}_step_{n}": ratio for n, ratio in found.items()}
    return figures | making_times(make(input_shape=(1, 16, 16), classes=10), rounds)


def sandwich(title: str, space: ElasticSpace, batch: int) -> Case:
    """The largest, the smallest and two random architectures."""
    rng = np.random.default_rng(0)
    archs = (space.largest(), space.smallest(), space.sample(rng), space.sample(rng))
    return Case(title, space, archs, batch)


def making_times(space: ElasticSpace, rounds: int) -> dict[str, float]:
    """Median CPU milliseconds to extract and to build a random subnet."""
    net, rng = space.supernet(), np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(rounds)]
    turns = {
        "extract_ms": [lambda arch=arch: extract(net, arch) for arch in archs],
        "build_ms": [lambda arch=arch: space.build(arch) for arch in archs],
    }
    space.build(archs[0])  # the first call makes the blueprint
    found = {key: median(interleaved([make], 1, cpu_ms)[0] for make in makes) for key, makes in turns.items()}
    print("one random subnet of the default space: ", end="")
    print(f"extract {found['extract_ms']:.1f} ms, build {found['build_ms']:.1f} ms")
    return found


AUTOFORMER_T = {"depth": [12, 13, 14], "width": [192, 216, 240], "heads": [3, 4], "ratio": [3.5, 4.0]}


def on_gpu(quick: bool) -> dict[str, float]:
    """Sandwich steps of ofa_mobilenet and elastic_vit at 224x224 against their plain subnets; images each step once."""
    place = find_place(Settings(device="cuda"))
    info, shape = device_info("cuda"), (3, 224, 224)
    batch, rounds = (32, 5) if quick else (128, 30)
    cases = {
        "ofa_mobilenet": load("spaces", "ofa_mobilenet")(input_shape=shape, classes=1000),
        "elastic_vit": load("spaces", "elastic_vit")(
            input_shape=shape, classes=1000, patch=16, head_dim=64, pool="token", **AUTOFORMER_T
        ),
    }
    lines, figures = [f"{info.name}, driver {info.driver}, torch {info.torch}, bfloat16, batch {batch}"], {}
    head = ("step", "ms", "images/s", "/ plain subnets", "/ subnets x largest")
    lines.append("| family | " + " | ".join(head) + " |\n" + "|---" * 6 + "|")
    for family, space in cases.items():
        case = sandwich(family, space, batch)
        names = ["largest", "static", "control", "static compiled", *ELASTIC]
        times = measure(case, place, names, rounds)
        for name, ms in times.items():
            base = times["static compiled" if "compiled" in name else "static"]
            ratios = (ms / base, ms / times["largest"] / len(case.archs))
            lines.append(
                f"| {family} | {name} | {ms:.1f} | {batch / ms * 1e3:.0f} | {ratios[0]:.3f} | {ratios[1]:.3f} |"
            )
            figures[f"{family}_{name.replace(' ', '_')}_over_plain"] = ratios[0]
    print("\n".join(lines))
    return figures


def main() -> None:
    """Print the tables and the line of figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under two minutes on 2 cores")
    parser.add_argument("--gpu", action="store_true", help="on a GPU, at ImageNet-like sizes")
    asked = parser.parse_args()
    if asked.gpu and not torch.cuda.is_available():
        sys.exit("--gpu needs a GPU, and torch sees none here; leave it out to measure on the CPU")
    torch.manual_seed(0)
    figures = (on_gpu if asked.gpu else on_cpu)(asked.quick)
    print(json.dumps({"figures": {key: round(value, 3) for key, value in figures.items()}}))


if __name__ == "__main__":
    main()
