"""What forms of compression without training cost, on handwritten digits: see README.md.

python studies/compression/run.py [--seeds 6] [--table]
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from ranks import rank_rows
from scipy.stats import t as student
from torch import Tensor, nn

from nasplat.channels import ChannelSpec, channel_spec
from nasplat.compress import (
    Reconstruction,
    Rounding,
    correct_bias,
    equalise,
    factorise,
    fold_norms,
    fuse_branches,
    input_means,
    quantise,
    reconstruct,
    round_weights,
)
from nasplat.data import batches, evaluate
from nasplat.data.dataset import Dataset
from nasplat.data.digits import digits
from nasplat.measure import Repeats, count_params, measure_latency
from nasplat.networks import resnet

RESULTS = Path(__file__).parent / "results.csv"
COLUMNS = ("network", "method", "seed", "measure", "value", "unit")
CALIBRATION = 256
"""Training images that forms with data may see."""

Row = tuple[str, str, int, str, float, str]


def unit(inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> list[nn.Module]:
    """Convolution, norm and rectifier."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


class RepVgg(nn.Module):
    """3x3, 1x1 and identity branches, a norm behind each, summed and rectified (arXiv:2101.03697)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.wide = nn.Sequential(*unit(inputs, outputs)[:2])
        self.narrow = nn.Sequential(*unit(inputs, outputs, 1)[:2])
        self.skip = nn.BatchNorm2d(inputs) if inputs == outputs else None

    def forward(self, x: Tensor) -> Tensor:
        total = self.wide(x) + self.narrow(x)
        return torch.relu(total if self.skip is None else total + self.skip(x))


def plain() -> nn.Module:
    """Four 3x3 convolutions."""
    body = [*unit(1, 16), *unit(16, 16), nn.MaxPool2d(2), *unit(16, 32), *unit(32, 32), nn.MaxPool2d(2)]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(128, 10))


def depthwise() -> nn.Module:
    """Depthwise and 1x1 convolutions in turn."""
    body = [*unit(1, 16), *unit(16, 16, 3, 16), *unit(16, 32, 1), nn.MaxPool2d(2)]
    body += [*unit(32, 32, 3, 32), *unit(32, 32, 1)]
    return nn.Sequential(*body, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(32, 10))


def repvgg() -> nn.Module:
    """Four blocks of three branches."""
    body = [RepVgg(1, 16), RepVgg(16, 16), nn.MaxPool2d(2), RepVgg(16, 32), RepVgg(32, 32)]
    return nn.Sequential(*body, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(32, 10))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain": plain,
    "resnet8": lambda: resnet(8, channels=1),
    "repvgg": repvgg,
    "depthwise": depthwise,
}


def trained(network: nn.Module, data: Dataset, seed: int) -> nn.Module:
    """AdamW, one cycle of a cosine, 15 epochs."""
    source = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-2)
    steps = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 15 * math.ceil(len(data.train) / 64))
    network.train()
    for _ in range(15):
        for images, labels in batches(data.train, 64, generator=source):
            optimiser.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimiser.step()
            steps.step()
    return network.eval()


def least(network: nn.Module, spec: ChannelSpec, share: float) -> np.ndarray:
    """Which channels stay: all but a share of every hidden space, those of the smallest L1 norm."""
    norms = {
        n: p.detach().abs().flatten(1).sum(1).numpy() for n, p in network.named_parameters() if p.ndim > 1
    }
    total = np.zeros(max(space.stop for space in spec.spaces))
    for slot in spec.slots:
        if slot.axis == 0 and slot.parameter in norms:
            np.add.at(total, slot.channels[0], norms[slot.parameter])
    kept = np.ones(len(total), dtype=bool)
    for space in spec.spaces:
        if space.kind == "hidden" and space.parent is None:
            order = space.start + np.argsort(total[space.start : space.stop])
            kept[order[: int(share * space.size)]] = False
    return kept


def forms(network: nn.Module, images: Tensor) -> Iterator[tuple[str, nn.Module]]:
    """All forms of one trained network, by name."""
    x = images[:2]
    folded = fold_norms(network, x).module
    yield "norms folded", folded
    fused = fuse_branches(network, x)
    if fused.changed:
        yield "branches fused", fused.module
    slim = fused.module if fused.changed else folded
    even = equalise(slim, x)
    yield "equalised", even.module
    yield "int8, step per channel", quantise(slim, x, [images])
    yield "int8, step per tensor", quantise(slim, x, [images], per_channel=False)
    yield "int8, step per tensor, equalised", quantise(even.module, x, [images], per_channel=False)
    for bits in (3, 4):
        coarse = Rounding(bits, per_channel=False)
        for name, module in (("", slim), (", equalised", even.module)):
            means = input_means(module, x, batches=[images])
            yield f"weights of {bits} bits{name}", round_weights(module, x, coarse).module
            corrected = correct_bias(module, x, means, coarse).module
            yield f"weights of {bits} bits{name}, bias by data", round_weights(corrected, x, coarse).module
        if not fused.changed:  # what leaves the norms before a sum of branches is not what leaves the sum
            free = {name: mean / even.factors.get(name, 1) for name, mean in input_means(network, x).items()}
            corrected = correct_bias(even.module, x, free, coarse).module
            yield (
                f"weights of {bits} bits, equalised, bias without data",
                round_weights(corrected, x, coarse).module,
            )
    for energy in (0.9, 0.8):
        yield f"factors of {energy:.0%} energy", factorise(network, energy=energy).module


def cuts(network: nn.Module, images: Tensor) -> Iterator[tuple[str, nn.Module]]:
    """Channels removed, with what is rebuilt of them."""
    spec = channel_spec(network, images[:2])
    nothing = Reconstruction(ridge=1e12, variance=False)
    for share in (0.3, 0.5):
        kept = least(network, spec, share)
        for name, settings, seen in (
            ("cut", nothing, None),
            ("variance alone", Reconstruction(ridge=1e12), None),
            ("filters", Reconstruction(activations=False, variance=False), None),
            ("activations", Reconstruction(variance=False), None),
            ("activations and variance", Reconstruction(), None),
            ("data", Reconstruction(), [images]),
        ):
            found = reconstruct(network, images[:2], kept, batches=seen, settings=settings)
            yield f"{share:.0%} of channels removed: {name}", found.module


def rows(name: str, seed: int) -> Iterator[Row]:
    """All results of one network and seed."""
    torch.manual_seed(seed)
    data = digits(seed=seed)
    network = trained(NETWORKS[name](), data, seed)
    images, test = data.train.inputs[:CALIBRATION], data.test
    made = [("trained", network), *forms(network, images)]
    if name in ("plain", "resnet8"):
        made += cuts(network, images)
    for method, module in made:
        yield name, method, seed, "test accuracy", evaluate(module, test, data.task), "1"
        if method.startswith(("trained", "factors")):
            yield name, method, seed, "parameters", count_params(module), "1"
        if seed == 0 and method in ("trained", "norms folded", "branches fused", "int8, step per channel"):
            for n in (1, 64):
                yield name, method, seed, f"latency at batch {n}", least_latency(module, images[:n]), "ms"


def least_latency(module: nn.Module, images: Tensor) -> float:
    """Milliseconds: the least of ten medians, for a machine that is not quiet."""
    short = Repeats(minimum=10, budget_s=0.1)
    return min(measure_latency(module, images, threads=1, repeats=short).median_ms for _ in range(10))


def table(results: list[dict[str, str]]) -> str:
    """Means, and paired differences to the trained network with their 95 % t interval, as Markdown."""
    lines = ["| network | method | test accuracy | difference in points |", "|---|---|---|---|"]
    found: dict[tuple[str, str], dict[int, float]] = {}
    for row in results:
        if row["measure"] == "test accuracy":
            found.setdefault((row["network"], row["method"]), {})[int(row["seed"])] = float(row["value"])
    for (network, method), values in found.items():
        full = found[network, "trained"]
        apart = [100 * (values[seed] - full[seed]) for seed in values]
        told = "" if method == "trained" else interval(apart)
        lines.append(f"| {network} | {method} | {statistics.mean(values.values()):.4f} | {told} |")
    lines.append("\n| network | method | measure | ms |\n|---|---|---|---|")
    lines.extend(
        f"| {row['network']} | {row['method']} | {row['measure']} | {float(row['value']):.3f} |"
        for row in results
        if row["unit"] == "ms"
    )
    return "\n".join(lines)


def interval(values: list[float]) -> str:
    """Mean and 95 % t interval."""
    mean, n = statistics.mean(values), len(values)
    half = float(student.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n) if n > 1 else math.nan
    return f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument(
        "--table", action="store_true", help="print the table of results.csv and train nothing"
    )
    options = parser.parse_args()
    if not options.table:
        torch.set_num_threads(1)
        done = set()
        if RESULTS.exists():
            with RESULTS.open() as file:
                done = {(row["network"], int(row["seed"])) for row in csv.DictReader(file)}
        with RESULTS.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if not done:
                writer.writerow(COLUMNS)
            for seed in range(options.seeds):
                for name in (*NETWORKS, "mlp"):
                    if (name, seed) not in done:
                        found = rank_rows(seed) if name == "mlp" else rows(name, seed)
                        writer.writerows(list(found))  # whole or not at all
                        file.flush()
    with RESULTS.open() as file:
        print(table(list(csv.DictReader(file))))


if __name__ == "__main__":
    main()
