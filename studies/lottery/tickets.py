"""One lottery: a small network on translated digits, its tickets and their controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from nasplat.data import Dataset, evaluate, generator, load_data, take
from nasplat.prune.sparse import LotterySettings, draw_lottery

BATCH = 64
PEAK = 0.1  # learning rate of SGD with momentum
DENSITIES = (0.71, 0.5, 0.32, 0.2, 0.14, 0.1, 0.07, 0.05)
"""About 30 % of the weights go in every round; every second density is one of the question."""


@dataclass(frozen=True, slots=True)
class Job:
    """The lottery of a seed."""

    seed: int
    steps: int = 448
    rewind: int = 45
    densities: tuple[float, ...] = DENSITIES
    folder: Path | None = None

    @property
    def name(self) -> str:
        """The seed."""
        return f"seed {self.seed}"


def network(seed: int) -> nn.Module:
    """Three convolutions with norms and a linear classifier: 14,288 weights that may go."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        widths = ((1, 16), (16, 32), (32, 32))
        blocks = [
            [nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)]
            for i, o in widths
        ]
        layers = [layer for block in blocks for layer in block]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


@cache
def data() -> Dataset:
    """7,200 images of 16x16 for training, 400 for validation, 497 for the test."""
    return load_data("translated_digits", clutter=1, noise=0.2)


def work(job: Job) -> Sequence[Mapping[str, Any]]:
    """The rows of a lottery: one for each trained network."""
    torch.set_num_threads(1)
    settings = LotterySettings(
        job.steps, job.rewind, job.densities, random=2, other_weights=True, seed=job.seed
    )

    def train(module: nn.Module, steps: range) -> None:
        optimiser = torch.optim.SGD(module.parameters(), PEAK, momentum=0.9, nesterov=True, weight_decay=5e-4)
        module.train()
        for step in steps:
            optimiser.param_groups[0]["lr"] = rate(step, job.steps)
            order = torch.randint(len(data().train), (BATCH,), generator=generator(job.seed, step))
            images, labels = take(data().train, order)
            optimiser.zero_grad()
            F.cross_entropy(module(images), labels).backward()
            optimiser.step()

    found = draw_lottery(network, train, judge, settings, folder=job.folder)
    origin = f"CPU, one thread, torch {torch.__version__}"
    return [
        {"job": job.name, "seed": job.seed}
        | {what: row[what] for what in ("arm", "round", "number", "density", "seconds", "test", "validation")}
        | {"unit": "1", "origin": origin}
        for row in found.rows()
    ]


def rate(step: int, steps: int) -> float:
    """Rising for a twentieth of the steps, then a cosine to zero."""
    ramp = max(1, steps // 20)
    if step < ramp:
        return PEAK * (step + 1) / ramp
    share = torch.tensor((step - ramp) / (steps - ramp))
    return float(PEAK * (1 + torch.cos(share * torch.pi)) / 2)


def judge(module: nn.Module) -> dict[str, float]:
    """Accuracies; the test split is for the table only: random search chooses by validation."""
    splits = {"validation": data().validation, "test": data().test}
    return {name: evaluate(module, split, data().task) for name, split in splits.items()}
