"""What the studies of pooling layouts do: layouts trained alone, supernets trained, every layout judged.

A job gives one row for each layout; `value` is what ranks the layouts, most often the accuracy on all of the
validation split of the network that is taken out of the supernet and recalibrated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pooling_sharing import LAYOUT, Branch, Turns, mixture_of
from torch import Tensor, nn

import nasplat as nas
from nasplat.data import Dataset, Split, batches, evaluate, predict
from nasplat.elastic import ElasticSpace, extract, recalibrate
from nasplat.measure import count_macs, device_info
from nasplat.space import Arch
from nasplat.supernet import (
    METHODS,
    Phase,
    Recipe,
    Schedule,
    Settings,
    label_loss,
    train,
    train_network,
)
from nasplat.supernet.mixtures import Balanced, Mixture, Setting
from nasplat.supernet.mixtures.assignment import expert_scores
from nasplat.supernet.probes.look import Look


@dataclass(frozen=True, slots=True)
class Setup:
    """What a study holds fixed.

    data: name in nasplat.data. halved: images averaged over 2x2 pixels. tests: how many test images, 0 for none.
    body, scales: of the space. epochs: of a supernet with a budget of 1; alone: of a layout for the truth.
    calibration: batches of 64 training images. best: whether all experts are judged, not just a layout's own.
    """

    data: str
    arguments: Mapping[str, Any]
    body: str | tuple[int, ...]
    epochs: int
    alone: int = 0
    halved: bool = False
    tests: int = 2000
    scales: int = 3
    calibration: int = 8
    best: bool = True
    device: str = "cpu"
    recipe: Mapping[str, Any] = field(default_factory=lambda: {"batch_size": 64, "learning_rate": 0.2})


@dataclass(frozen=True, slots=True)
class Variant:
    """How a supernet shares its weights and is trained.

    mixture: as in a study file, or {"kind": "scale"}. budget: epochs over the study's. turns: layouts take turns, each
    exactly as often, instead of being drawn. branch: the share of the steps in which there is one set of weights,
    which all sets of the mixture then start from; 0 for the same fresh weights; None leaves it to the mixture.
    """

    mixture: Mapping[str, Any] = field(default_factory=lambda: {"kind": "slice"})
    budget: float = 1.0
    norm: str = "batch"
    turns: bool = False
    branch: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One training, or one score of all layouts. layout: the one that is trained alone."""

    kind: str
    method: str
    seed: int
    setup: Setup
    variant: Variant = field(default_factory=Variant)
    layout: str = ""

    @property
    def name(self) -> str:
        """What tells it from all others of the same study."""
        parts = (self.method, self.layout, f"seed {self.seed}", f"of {self.setup.epochs}")
        return " ".join(part for part in parts if part)


@lru_cache(maxsize=1)
def _loaded(name: str, halved: bool, tests: int, arguments: tuple[tuple[str, Any], ...]) -> Dataset:
    data = nas.load_data(name, **dict(arguments))
    test = Split(data.test.inputs[:tests], data.test.targets[:tests])
    splits = {"train": data.train, "validation": data.validation, "test": test}
    return replace(data, **({key: _halved(split) for key, split in splits.items()} if halved else splits))


def _halved(split: Split) -> Split:
    """Half the side: the mean of every 2x2 pixels."""
    return Split(F.avg_pool2d(split.inputs, 2), split.targets) if len(split) else split


def dataset(setup: Setup) -> Dataset:
    """The data of a study; read once in each process."""
    return _loaded(setup.data, setup.halved, setup.tests, tuple(setup.arguments.items()))


def layouts_of(setup: Setup, norm: str = "batch") -> ElasticSpace:
    """The space: where the pools sit, over a fixed body."""
    data = dataset(setup)
    body = setup.body if isinstance(setup.body, str) else list(setup.body)
    make = nas.load("spaces", "pooling")
    space: ElasticSpace = make(
        input_shape=data.input_shape, classes=10, body=body, scales=setup.scales, norm=norm
    )
    return space


def alone(job: Job) -> Iterator[dict[str, Any]]:
    """One layout trained from scratch: the truth."""
    data, space = dataset(job.setup), layouts_of(job.setup)
    arch = space.arch({LAYOUT: job.layout})
    network, start = space.build(arch, job.seed), time.process_time()
    settings = Settings(seed=job.seed, device=job.setup.device)
    report = train_network(network, data, Recipe(epochs=job.setup.alone, **job.setup.recipe), settings)
    seconds = time.process_time() - start
    device = job.setup.device
    value, test = (evaluate(network, s, data.task, device=device) for s in (data.validation, data.test))
    yield {"layout": job.layout, "value": value, "test": test, "steps": report.passes, "seconds": seconds}


def supernet(job: Job) -> Iterator[dict[str, Any]]:
    """A supernet, and what every layout has inherited from it."""
    data, space = dataset(job.setup), layouts_of(job.setup, job.variant.norm)
    mixture, start = mixture_of(job.variant.mixture), time.process_time()
    net, steps = trained(job, data, space, mixture)
    effort = {"steps": steps, "seconds": time.process_time() - start}
    experts = range(mixture.experts) if isinstance(mixture, Balanced) else ()
    for arch in space.enumerate():
        best = {"best": best_expert(net, arch, experts, job.setup)}
        yield {"layout": arch[LAYOUT], **judged(inherited(net, arch, job.setup), job.setup), **best, **effort}


def trained(job: Job, data: Dataset, space: ElasticSpace, mixture: Mixture) -> tuple[nn.Module, int]:
    """A supernet after its training, and the number of passes that it took."""
    epochs = max(1, round(job.variant.budget * job.setup.epochs))
    recipe = METHODS["uniform"](epochs=epochs, **job.setup.recipe)
    schedule = recipe.schedule(space, data, job.seed)
    if job.variant.turns:
        phase = Phase(1.0, Turns(tuple(space.enumerate()), job.seed), label_loss(data.task.loss))
        schedule = replace(schedule, phases=(phase,))
    if job.variant.branch is None:
        space = space.shared(mixture.apply)
        net = space.supernet(job.seed)
        schedule = mixture.schedule(schedule, Setting(net, space, data, recipe, job.seed))
    else:
        net = space.supernet(job.seed)
        schedule = branched(schedule, Branch(mixture, space), job.variant.branch)
    settings = Settings(seed=job.seed, device=job.setup.device)
    return net, train(net, data, schedule, recipe, settings).passes


def branched(schedule: Schedule, branch: Branch, share: float) -> Schedule:
    """The same phase all along, with the morphism at a share of the steps, which may be 0."""
    (phase,) = schedule.phases
    first = (replace(phase, until=share),) if share else ()
    return replace(schedule, phases=(*first, replace(phase, on_enter=(branch,))))


def inherited(net: nn.Module, arch: Mapping[str, Any], setup: Setup) -> nn.Module:
    """The network of a layout as it would be shipped: taken out, and recalibrated."""
    network = extract(net, arch).eval()
    recalibrate(network, calibration(setup))
    return network


def judged(network: nn.Module, setup: Setup) -> dict[str, float]:
    """Accuracy (value) and cross entropy (loss) on all of the validation split, accuracy on the test split."""
    data = dataset(setup)
    outputs = predict(network, data.validation.inputs, device=setup.device)
    targets = data.validation.targets
    tested = len(data.test) > 0
    return {
        "value": data.task.score(outputs, targets),
        "loss": float(F.cross_entropy(outputs, targets)),
        "test": evaluate(network, data.test, data.task, device=setup.device) if tested else np.nan,
    }


def calibration(setup: Setup) -> list[Tensor]:
    """The same training images for every network, without augmentation."""
    generator = torch.Generator().manual_seed(0)
    drawn = batches(dataset(setup).train, 64, generator=generator, device=setup.device)
    return [inputs for inputs, _ in islice(drawn, setup.calibration)]


def best_expert(net: nn.Module, arch: Arch, experts: Sequence[int], setup: Setup) -> float:
    """The accuracy of the expert that is best for a layout on the validation split; NaN where there are no experts."""
    if not setup.best or not experts:
        return np.nan
    place, inputs = torch.device(setup.device), calibration(setup)
    at = Look(net, layouts_of(setup), dataset(setup), 0, place, calibration=inputs)
    return max(expert_scores(at, arch))


def macs(job: Job) -> Iterator[dict[str, Any]]:
    """Multiply-adds of every layout; the parameters are the same for all."""
    space, example = layouts_of(job.setup), dataset(job.setup).validation.inputs[:1]
    for arch in space.enumerate():
        yield {"layout": arch[LAYOUT], "value": count_macs(space.build(arch), example)}


def score(job: Job) -> Iterator[dict[str, Any]]:
    """A score of every layout at initialisation, on a batch of 128 training images."""
    space, data = layouts_of(job.setup), dataset(job.setup)
    images, labels = next(batches(data.train, 128, generator=torch.Generator().manual_seed(job.seed)))
    for arch in space.enumerate():
        start = time.process_time()
        found = nas.score(space.build(arch, job.seed), images, labels, [job.method], seed=job.seed)
        seconds = time.process_time() - start
        yield {"layout": arch[LAYOUT], "value": found[job.method].value, "seconds": seconds}


RUNNERS: dict[str, Callable[[Job], Iterator[dict[str, Any]]]] = {
    "alone": alone,
    "supernet": supernet,
    "macs": macs,
    "score": score,
}
UNITS = {"macs": "MAC"}  # of `value`; all else are shares, and `loss` is in nats
COLUMNS = {"value": np.nan, "loss": np.nan, "best": np.nan, "test": np.nan, "steps": 0, "seconds": 0.0}


def work(job: Job) -> list[dict[str, Any]]:
    """The rows of a job."""
    torch.set_num_threads(1)
    origin = f"{device_info(job.setup.device).name}, torch {torch.__version__}"
    row = {"job": job.name, "method": job.method, "seed": job.seed, "epochs": job.setup.epochs, "layout": ""}
    where = {"unit": UNITS.get(job.kind, "1"), "origin": origin}
    return [row | COLUMNS | found | where for found in RUNNERS[job.kind](job)]
