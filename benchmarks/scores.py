"""What shared passes save: scores of a network in one call against one call per score.

    python benchmarks/scores.py [--quick] [--device cuda:0] [--workers 8]

Both run the same code: a call with one name is one pass per score. Networks are random NAS-Bench-201 cells with a path,
the batch is 64 random images of 3x32x32 in 10 classes. Calls take turns and are compared by their medians over
rounds, summed over networks; the control row, the same shared call again, shows the noise of the machine. On the CPU:
one thread, CPU time; on a GPU wall time. Goals: the gradient family at least 3x, all scores at least 2x.
The gradient family, as the goal means it, is l2_norm, grad_norm, plain, snip, grasp, fisher, jacov, epe_nas, nwot and
synflow: "gradient_family_and_grasp". "gradient_family" leaves out grasp, whose second-order pass takes longer than the
others together and is shared with nobody. Both are printed. All scores are those that differ: az_complexity is macs by
another name, and alone would count its pass twice.
With --workers the networks are also scored by several processes at once, which is how a GPU gets enough to do.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from nasplat.measure import device_info
from nasplat.plugins import load, names
from nasplat.scoring import Score, score
from nasplat.space import Arch
from nasplat.study.scorer import exact
from nasplat.study.together import together

FAMILY = ("l2_norm", "grad_norm", "plain", "snip", "fisher", "jacov", "epe_nas", "nwot", "synflow")
SETS = {"gradient_family": FAMILY, "gradient_family_and_grasp": (*FAMILY, "grasp")}
Clock = Callable[[], float]


def all_scores() -> list[str]:
    """The names of the built-in scores, each function once."""
    scores = {name: load("predictors", name) for name in names("predictors") if name != "az_complexity"}
    return [name for name, found in scores.items() if isinstance(found, Score)]


def architectures(count: int) -> list[Arch]:
    """Random cells that have a path from input to output."""
    space, rng = load("spaces", "nasbench201")(), np.random.default_rng(0)
    found: list[Arch] = []
    images, labels = torch.randn(2, 3, 32, 32), torch.tensor([0, 1])
    while len(found) < count:
        arch = space.sample(rng)
        if score(space.build(arch), images, labels, ["synflow"])["synflow"].status == "ok":
            found.append(arch)
    return found


def build(arch: Arch, device: str) -> nn.Module:
    """The network of a cell, with the same weights in every process."""
    torch.manual_seed(0)
    network: nn.Module = load("spaces", "nasbench201")().build(arch).to(device)
    return network


def batch(device: str) -> tuple[Tensor, Tensor]:
    """64 images and their classes."""
    torch.manual_seed(0)
    return torch.randn(64, 3, 32, 32).to(device), (torch.arange(64) % 10).to(device)


def clock_of(device: str) -> Clock:
    """CPU seconds of this process, or on a GPU wall seconds once it has nothing left to do."""
    if device == "cpu":
        return time.process_time

    def wall() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return wall


def seconds(actions: Mapping[str, Callable[[], object]], rounds: int, clock: Clock) -> dict[str, float]:
    """Median seconds of each action; they take turns, and who begins changes with each round."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    order = list(actions)
    actions["shared all_scores"]()  # warms everything up
    for turn in range(rounds):
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            start = clock()
            actions[name]()
            times[name].append(clock() - start)
    return {name: median(t) for name, t in times.items()}


def compare(archs: Sequence[Arch], rounds: int, device: str) -> dict[str, float]:
    """Mean seconds per network of each set in one call ("shared ..."), the control, and each score alone."""
    sets = {**SETS, "all_scores": tuple(all_scores())}
    groups = {f"shared {name}": members for name, members in sets.items()}
    groups |= {"control": FAMILY, **{name: (name,) for name in all_scores()}}
    images, labels = batch(device)
    total = dict.fromkeys(groups, 0.0)
    for arch in archs:
        network = build(arch, device)
        actions = {name: partial(score, network, images, labels, members) for name, members in groups.items()}
        for name, spent in seconds(actions, rounds, clock_of(device)).items():
            total[name] += spent / len(archs)
    return total


def report(times: dict[str, float]) -> dict[str, float]:
    """The table, printed; figures by name."""
    family = times["shared gradient_family"]
    figures = {"control": times["control"] / family, "gradient_family_per_second": 1 / family}
    print("seconds per network of each score alone")
    for name in all_scores():
        print(f"  {name:<18}{times[name]:>8.3f}")
    print(f"{'':<28}{'alone':>8}{'shared':>8}{'ratio':>7}")
    for name, members in {**SETS, "all_scores": tuple(all_scores())}.items():
        alone, shared = sum(times[member] for member in members), times[f"shared {name}"]
        print(f"  {name:<26}{alone:>8.3f}{shared:>8.3f}{alone / shared:>7.2f}")
        figures[f"{name}_speedup"] = alone / shared
    print(f"  {'control: shared / shared':<26}{figures['control']:>23.3f}")
    print(f"gradient family: {1 / family:.2f} networks per second")
    return figures


def ready(device: str) -> Callable[[Arch], None]:
    """What a process does: the gradient family of a network, as `nasplat score --device --workers` does it."""
    torch.set_num_threads(1)
    images, labels = batch(device)

    def work(arch: Arch) -> None:
        with exact(torch.device(device)):
            score(build(arch, device), images, labels, FAMILY)

    return work


def throughput(archs: Sequence[Arch], device: str, workers: int) -> float:
    """Networks per second, gradient family, by several processes; their start and first networks are not counted."""
    times = [time.perf_counter() for _ in together(partial(ready, device), archs, workers)]
    warm = 2 * workers
    return (len(times) - warm) / (times[-1] - times[warm - 1])


def main() -> None:
    """Print the tables and the line of figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="two networks, two rounds: under two minutes on 2 cores"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that score at once, in a second table"
    )
    asked = parser.parse_args()
    if asked.device != "cpu" and not torch.cuda.is_available():
        sys.exit(
            f"torch sees no GPU here, so {asked.device} cannot be measured; leave --device out for the CPU"
        )
    torch.set_num_threads(1)
    networks, rounds = (2, 2) if asked.quick else (8, 5)
    archs = architectures(max(networks, asked.workers))
    info = device_info(asked.device)
    print(f"{info.name}, torch {info.torch}: {networks} networks, {rounds} rounds, batch 64 of 3x32x32")
    figures = report(compare(archs[:networks], rounds, asked.device))
    if asked.workers > 1:
        rate = throughput(archs * 8, asked.device, asked.workers)
        print(f"gradient family by {asked.workers} processes: {rate:.2f} networks per second")
        figures[f"networks_per_second_{asked.workers}_workers"] = rate
    print(json.dumps({"figures": {key: round(value, 3) for key, value in figures.items()}}))


if __name__ == "__main__":
    main()
