"""What one job of the study does: a language model trained alone, or a supernet of language models."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

import nasplat as nas
from nasplat.data import Dataset, evaluate
from nasplat.elastic import ElasticSpace, extract
from nasplat.measure import device_info
from nasplat.space import Arch
from nasplat.supernet import METHODS, Recipe, Settings, train, train_network
from nasplat.supernet.mixtures import Setting, make_mixture
from nasplat.supernet.probes.ranks import sampled

CONTROL = "slice"
FEED_FORWARD = ("*.feed_forward.*",)  # as published: the layers of the feed-forward parts alone
MOS = {"kind": "moe", "experts": 2, "layers": FEED_FORWARD}
VARIANTS: dict[str, Mapping[str, Any]] = {
    CONTROL: {"kind": "slice"},
    "constant router": {**MOS, "router": "constant"},
    "MoS, layer-wise": {**MOS, "per": "layer"},
    "MoS, neuron-wise": {**MOS, "per": "neuron"},
}
"""Mixture tables, by the names in the tables."""

SIZES = {"depth": [2, 3], "width": [32, 48], "heads": [2, 4], "ffn": [32, 64, 128]}


@dataclass(frozen=True, slots=True)
class Job:
    """One training. `method` is a variant, or "alone" with the name of an architecture in `judged_archs`.

    epochs: of a supernet, each step of which visits the largest, the smallest and a random architecture; or alone.
    """

    part: str
    method: str
    seed: int
    epochs: int
    which: str = ""

    @property
    def name(self) -> str:
        """What tells it from all others."""
        method = f"{self.method} {self.which}".strip()
        return f"{self.part}: {method}, {self.epochs} epochs, seed {self.seed}"


@cache
def dataset() -> Dataset:
    """The English that comes with scikit-learn, in windows of 64 characters."""
    return nas.load_data("text", context=64, stride=32)


def models() -> ElasticSpace:
    """The space of small language models."""
    data = dataset()
    space: ElasticSpace = nas.load("spaces", "elastic_lm")(
        input_shape=data.input_shape, classes=data.classes, **SIZES
    )
    return space


def judged_archs(space: ElasticSpace) -> dict[str, Arch]:
    """The smallest, the largest, and three random architectures, always the same."""
    ends = {"smallest": space.smallest(), "largest": space.largest()}
    others = [arch for arch in sampled(space, 5, seed=0) if arch not in ends.values()]
    return ends | {f"random {n}": arch for n, arch in enumerate(others[:3], start=1)}


def alone(job: Job) -> Iterator[dict[str, Any]]:
    """One architecture trained from scratch, for as many steps as a supernet."""
    space = models()
    arch = judged_archs(space)[job.which]
    network, start = space.build(arch, job.seed), time.process_time()
    recipe = Recipe(epochs=job.epochs, batch_size=32, **space.recipe)
    report = train_network(network, dataset(), recipe, Settings(seed=job.seed))
    effort = {"steps": report.passes, "seconds": time.process_time() - start}
    yield {"which": job.which, "arch": arch.key, **bits(network), **effort}


def supernet(job: Job) -> Iterator[dict[str, Any]]:
    """A supernet, and what the judged architectures inherit."""
    space = models()
    net, effort = trained(job, space)
    for which, arch in judged_archs(space).items():
        yield {"which": which, "arch": arch.key, **bits(extract(net, arch)), **effort}


def trained(job: Job, space: ElasticSpace) -> tuple[nn.Module, dict[str, float]]:
    """A supernet after its training; its steps, and seconds of one processor."""
    data, mixture = dataset(), make_mixture(VARIANTS[job.method])
    space = space.shared(mixture.apply)
    recipe = METHODS["sandwich"](epochs=job.epochs, batch_size=32, random=1, **space.recipe)
    net, plain = space.supernet(job.seed), recipe.schedule(space, data, job.seed)
    schedule = mixture.schedule(plain, Setting(net, space, data, recipe, job.seed))
    start = time.process_time()
    report = train(net, data, schedule, recipe, Settings(seed=job.seed))
    return net, {"steps": report.passes / 3, "seconds": time.process_time() - start}


def bits(network: nn.Module) -> dict[str, float]:
    """Bits per character of a network on the validation and the test split."""
    data = dataset()
    splits = {"validation": data.validation, "test": data.test}
    return {name: evaluate(network, split, data.task, batch_size=64) for name, split in splits.items()}


def work(job: Job) -> list[dict[str, Any]]:
    """The rows of a job."""
    torch.set_num_threads(1)
    run: Callable[[Job], Iterator[dict[str, Any]]] = alone if job.method == "alone" else supernet
    row = {"job": job.name, "part": job.part, "method": job.method, "seed": job.seed, "epochs": job.epochs}
    origin = {"unit": "bit", "origin": f"{device_info('cpu').name}, torch {torch.__version__}"}
    return [row | found | origin for found in run(job)]
