"""What one job of the study does: a training, and what is measured of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from statistics import mean
from typing import Any

import torch
import torch.nn.functional as F
from tables import CONTROL, title
from torch import nn

import nasplat as nas
from nasplat.data import Dataset, Split, batches, evaluate, predict
from nasplat.elastic import ElasticSpace, extract, recalibrate
from nasplat.measure import device_info
from nasplat.space import Arch
from nasplat.supernet import (
    METHODS,
    Fixed,
    Phase,
    Recipe,
    Schedule,
    Settings,
    label_loss,
    train,
    train_network,
)
from nasplat.supernet.morphism import SortChannels
from nasplat.supernet.probes import kendall

VARIANTS = {name: (name, dict[str, Any]()) for name in METHODS}
VARIANTS |= {
    title(kind.control): (kind.control["method"], {k: v for k, v in kind.control.items() if k != "method"})
    for kind in METHODS.values()
}
VARIANTS["uniform, per_step = 4"] = ("uniform", {"per_step": 4})  # as many steps as the sandwich
"""Methods and their own controls, by the names in the tables: a method, and its arguments."""

UNITS = {"NLL": "nats", "seconds": "s"}
RECIPE = {"batch_size": 64, "learning_rate": 0.2}


@dataclass(frozen=True, slots=True)
class Size:
    """passes: forward and backward, of a supernet. seeds: of a row. truths: seeds of a network trained alone.

    copies: drawings of each digit for training; 900 times as many images of Fashion-MNIST.
    """

    passes: int = 3584
    seeds: int = 5
    truths: int = 2
    copies: int = 8


@dataclass(frozen=True, slots=True)
class Job:
    """One training. `method` is a method, a norm, or the key of an architecture; truth: accuracies alone, by key."""

    kind: str
    part: str
    method: str
    seed: int
    size: Size
    truth: tuple[tuple[str, float], ...] = ()


Found = tuple[str, str, dict[str, float]]  # part, method, measures


@cache
def dataset(part: str, size: Size) -> Dataset:
    """Translated digits 16x16, or Fashion-MNIST averaged over 2x2 pixels to 14x14; 7,200 images for training."""
    if part != "fashion":
        return nas.load_data("translated_digits", clutter=1, noise=0.2, copies=size.copies)
    images = 900 * size.copies
    data = nas.load_data("fashion_mnist", limit=images + 2000, validation=2000, augment=False)
    train_split, validation, test = (pooled(s) for s in (data.train, data.validation, data.test))
    small = Split(test.inputs[:2000], test.targets[:2000])
    return replace(data, name="fashion_mnist_14", train=train_split, validation=validation, test=small)


def pooled(split: Split) -> Split:
    """Half the side: the mean of every 2x2 pixels."""
    return Split(F.avg_pool2d(split.inputs, 2), split.targets)


def space_for(data: Dataset, norm: str = "batch") -> ElasticSpace:
    """32 residual networks: two stages of 1 or 2 blocks, 2 widths of the first and 4 of the second."""
    make = nas.load("spaces", "elastic_convnet")
    sizes = {"stages": 2, "depth": [1, 2], "width": [[8, 16], [8, 16, 24, 32]], "kernel": [3], "stem": 8}
    return make(input_shape=data.input_shape, classes=10, stem_stride=2, norm=norm, **sizes)


def judged(
    net: nn.Module, archs: Sequence[Arch], data: Dataset, truth: Mapping[str, float], *, raw: bool = False
) -> dict[str, float]:
    """The measures of a supernet: test accuracy of its smallest, of all on average, of its largest; NLL; tau.

    archs: the smallest first, the largest last. raw: with the running statistics of the training.
    """
    inputs = [x for x, _ in islice(batches(data.train, 64, generator=torch.Generator().manual_seed(0)), 8)]
    hits, nlls, ranking = [], [], {}
    for arch in archs:
        network = extract(net, arch).eval()
        if not raw:
            recalibrate(network, inputs)
        outputs = predict(network, data.test.inputs)
        hits.append(data.task.score(outputs, data.test.targets))
        nlls.append(float(F.cross_entropy(outputs, data.test.targets)))
        ranking[arch.key] = evaluate(network, data.validation, data.task)
    found = {"smallest": hits[0], "mean": mean(hits), "largest": hits[-1], "NLL": mean(nlls)}
    return found | ({"tau": kendall(ranking, truth)} if truth else {})


def every(space: ElasticSpace) -> list[Arch]:
    """All architectures, the smallest first, the largest last."""
    ends = (space.smallest(), space.largest())
    return [ends[0], *(a for a in space.enumerate() if a not in ends), ends[1]]


def alone(job: Job) -> Iterator[Found]:
    """One architecture trained from scratch, for as many steps as the control's."""
    data = dataset(job.part, job.size)
    space = space_for(data)
    network = space.build(next(a for a in space.enumerate() if a.key == job.method), job.seed)
    epochs = epochs_for(CONTROL, space, data, job.size)
    train_network(network, data, Recipe(epochs=epochs, **RECIPE), Settings(seed=job.seed))
    yield (
        job.part,
        job.method,
        {
            "alone, test": evaluate(network, data.test, data.task),
            "alone, validation": evaluate(network, data.validation, data.task),
        },
    )


def method(job: Job) -> Iterator[Found]:
    """A supernet trained by a method; that of the control also shows what recalibration does."""
    data = dataset(job.part, job.size)
    space = space_for(data)
    net, effort = trained(job, job.method, space, data)
    result = judged(net, every(space), data, dict(job.truth))
    yield job.part, job.method, result | effort
    if job.part == "digits" and job.method == CONTROL:
        yield "norms", "batch, recalibrated", result | effort
        yield "norms", "batch, raw", judged(net, every(space), data, dict(job.truth), raw=True) | effort


def norm(job: Job) -> Iterator[Found]:
    """The control with norms that keep no running statistics."""
    data = dataset(job.part, job.size)
    space = space_for(data, job.method)
    net, effort = trained(job, CONTROL, space, data)
    yield job.part, job.method, judged(net, every(space), data, dict(job.truth)) | effort


def paths(job: Job) -> Iterator[Found]:
    """Multi-path blocks with one batch norm for all, or one for each number of paths (MixPath)."""
    data = dataset(job.part, job.size)
    sizes = {"width": [8, 16, 32], "depth": [[1], [1], [1]], "kernel": [3, 5, 7], "expand": [2]}
    sizes |= {"stem": 8, "head": 32, "strides": [2, 1, 2, 1]}
    space = nas.load("spaces", "mixpath")(input_shape=data.input_shape, classes=10, norm=job.method, **sizes)
    shorter = replace(job, size=replace(job.size, passes=job.size.passes // 6))
    net, effort = trained(shorter, "uniform", space, data)
    archs = [space.smallest(), *every(space)[1:-1:12], space.largest()]
    for name, raw in {"raw": True, "recalibrated": False}.items():
        yield job.part, f"{job.method}, {name}", judged(net, archs, data, {}, raw=raw) | effort


def depths(job: Job) -> Iterator[Found]:
    """Depth alone: the full network or a shallow one in each step, by a ratio that changes or is constant."""
    data = dataset(job.part, job.size)
    sizes = {"stages": 2, "depth": [1, 2, 3, 4], "width": [[8], [16]], "kernel": [3], "stem_stride": 2}
    space = nas.load("spaces", "elastic_convnet")(input_shape=data.input_shape, classes=10, **sizes)
    shorter = replace(job, size=replace(job.size, passes=job.size.passes // 2))
    net, effort = trained(shorter, job.method, space, data)
    archs = [space.arch({"depth1": d, "depth2": d}) for d in (1, 2, 3, 4)]
    yield job.part, job.method, judged(net, archs, data, {}) | effort


def order(job: Job) -> Iterator[Found]:
    """Subnets of a supernet of which only the largest has been trained, before and after its channels are sorted."""
    data = dataset(job.part, job.size)
    space = space_for(data)
    recipe = Recipe(epochs=max(1, job.size.passes // 1000), **RECIPE)
    net = space.supernet(job.seed)
    phase = Phase(1.0, Fixed((space.largest(),)), label_loss(data.task.loss))
    report = train(net, data, Schedule((phase,)), recipe, Settings(seed=job.seed))
    yield job.part, "unsorted", judged(net, every(space), data, {}) | {"passes": report.passes}
    only_largest = space.restrict({choice.name: choice.values[-1:] for choice in space.choices})
    SortChannels(only_largest)(net, torch.optim.SGD(net.parameters()))
    yield job.part, "sorted", judged(net, every(space), data, {}) | {"passes": report.passes}


RUNNERS: dict[str, Callable[[Job], Iterator[Found]]] = {
    "alone": alone,
    "method": method,
    "norm": norm,
    "paths": paths,
    "depths": depths,
    "order": order,
}


def trained(job: Job, variant: str, space: ElasticSpace, data: Dataset) -> tuple[nn.Module, dict[str, float]]:
    """A supernet, and what it cost: passes, and seconds of one processor."""
    method, arguments = VARIANTS[variant]
    recipe = METHODS[method](epochs=epochs_for(variant, space, data, job.size), **RECIPE, **arguments)
    net = space.supernet(job.seed)
    start = time.process_time()
    report = train(net, data, recipe.schedule(space, data, job.seed), recipe, Settings(seed=job.seed))
    return net, {"passes": report.passes, "seconds": time.process_time() - start}


def epochs_for(variant: str, space: ElasticSpace, data: Dataset, size: Size) -> int:
    """The epochs in which a method makes the budget of passes: some visit one architecture a step, some four."""
    method, arguments = VARIANTS[variant]
    recipe = METHODS[method](epochs=1, **RECIPE, **arguments)
    schedule, steps = recipe.schedule(space, data, 0), 200
    asked = (schedule.at(s, steps).policy.ask(s, lambda arch: torch.zeros(())) for s in range(steps))
    per_step = sum(map(len, asked)) / steps
    return max(1, round(size.passes / per_step / (len(data.train) // recipe.batch_size)))


def work(job: Job) -> list[dict[str, Any]]:
    """The rows of a job."""
    torch.set_num_threads(1)
    origin = f"{device_info('cpu').name}, torch {torch.__version__}"
    row = {"job": name_of(job), "seed": job.seed, "origin": origin}
    found = [(part, name, measures) for part, name, measures in RUNNERS[job.kind](job)]
    return [
        row | {"part": part, "method": name, "what": what, "value": value, "unit": UNITS.get(what, "1")}
        for part, name, measures in found
        for what, value in measures.items()
    ]


def name_of(job: Job) -> str:
    """What tells a job from all others of the same size."""
    return f"{job.kind} {job.part} {job.method} {job.seed}"
