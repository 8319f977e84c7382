"""The space with a planted conflict, and what one job of the study does: a training, and what came out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

import nasplat as nas
from nasplat.data import Dataset, evaluate
from nasplat.elastic import ElasticLinear, ElasticSpace, extract
from nasplat.measure import device_info
from nasplat.space import Arch, categorical
from nasplat.supernet import Settings, UniformTraining, train
from nasplat.supernet.mixtures import Setting, make_mixture

HIDDEN, OPTIONS = 12, 4
ORDERS = [
    torch.randperm(HIDDEN, generator=torch.Generator().manual_seed(k)).tolist() for k in range(2 * OPTIONS)
]
"""The permutations of the hidden units: the first half after the first layer, the others after the second."""

VARIANTS: dict[str, Mapping[str, Any]] = {
    "slice": {"kind": "slice"},
    "constant router": {"kind": "moe", "experts": 4, "router": "constant"},
    "random one-hot": {"kind": "dealt", "experts": 4},
    "split by chance": {"kind": "split", "by": "random"},
    "split by gradient": {"kind": "split"},
    "split by gradient, restart": {"kind": "split", "start": "restart"},
    "split on choice 1": {"kind": "split", "by": "first"},
    "choice 1 apart from the start": {"kind": "keyed", "choice": "first"},
    "MoS layer-wise": {"kind": "moe", "experts": 4, "per": "layer"},
    "MoS neuron-wise": {"kind": "moe", "experts": 4, "per": "neuron"},
    "no sharing": {"kind": "separate"},
}
"""The mixture of each row; four weight sets each, but for the first and the last."""


class Permuted(nn.Module):
    """An MLP 64-12-12-10 that permutes its hidden units as the architecture says. x (n, 1, 8, 8) -> (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten, self.relu = nn.Flatten(), nn.ReLU()
        self.layer1, self.layer2 = ElasticLinear(64, HIDDEN), ElasticLinear(HIDDEN, HIDDEN)
        self.head = ElasticLinear(HIDDEN, 10)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        h = self.relu(self.layer1(self.flatten(x), arch))[:, ORDERS[int(arch["first"])]]
        h = self.relu(self.layer2(h, arch))[:, ORDERS[OPTIONS + int(arch["second"])]]
        out: Tensor = self.head(h, arch)
        return out


SPACE = ElasticSpace(
    "planted_conflict",
    [categorical("first", range(OPTIONS)), categorical("second", range(OPTIONS))],
    network=Permuted,
    input_shape=(1, 8, 8),
)


@dataclass(frozen=True, slots=True)
class Job:
    """One supernet: the row, the peak of its learning rate, the seed of all that is drawn, epochs of 15 steps."""

    method: str
    learning_rate: float
    seed: int
    epochs: int = 200

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return f"{self.method} at {self.learning_rate}, seed {self.seed}"


def trained(job: Job, data: Dataset) -> nn.Module:
    """A supernet after its training: one random architecture a step."""
    table = dict(VARIANTS[job.method])
    mixture = make_mixture(table | ({"seed": job.seed} if table["kind"] == "dealt" else {}))
    recipe = UniformTraining(
        epochs=job.epochs,
        batch_size=60,
        optimiser="adamw",
        learning_rate=job.learning_rate,
        weight_decay=0.0,
    )
    net = SPACE.shared(mixture.apply).supernet(job.seed)
    setting = Setting(net, SPACE, data, recipe, job.seed)
    schedule = mixture.schedule(recipe.schedule(SPACE, data, job.seed), setting)
    train(net, data, schedule, recipe, Settings(seed=job.seed))
    return net.eval()


def work(job: Job) -> list[dict[str, Any]]:
    """The row of a job: mean accuracies over the 16 architectures, parameters, and seconds of one processor."""
    torch.set_num_threads(1)
    data, start = nas.load_data("digits"), time.process_time()
    net = trained(job, data)
    seconds = time.process_time() - start
    subnets = [extract(net, arch) for arch in SPACE.enumerate()]
    row: dict[str, Any] = {"job": job.name, "method": job.method, "rate": job.learning_rate, "seed": job.seed}
    for name, split in {"test": data.test, "validation": data.validation}.items():
        row[name] = round(mean(evaluate(subnet, split, data.task) for subnet in subnets), 5)
    row |= {"parameters": sum(p.numel() for p in net.parameters()), "seconds": round(seconds, 1)}
    return [row | {"unit": "accuracy", "origin": f"{device_info('cpu').name}, torch {torch.__version__}"}]
