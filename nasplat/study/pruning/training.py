"""The trained networks that a metanetwork learns from: read from where they are, or trained here one by one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from nasplat import networks
from nasplat.data import Dataset, derived_seed
from nasplat.errors import InvalidStudy, expected_one_of
from nasplat.study.pruning.claim import claim
from nasplat.study.pruning.model import fill
from nasplat.study.pruning.page import MetanetPage, Models
from nasplat.study.run import Watcher
from nasplat.supernet import Recipe, Settings, save_weights, train_network
from nasplat.zoo import DIVERGED, Form, Zoo, open_zoo, read_zoo
from nasplat.zoo import FAMILIES as SMALL

VGGS = {
    11: networks.vgg11_bn,
    13: networks.vgg13_bn,
    16: networks.vgg16_bn,
    19: networks.vgg19_bn,
}
CLAIM = "models.json"

Width = tuple[int, ...] | int
Make = Callable[[Width, int, Dataset], nn.Module]


def trained_networks(
    page: MetanetPage, data: Dataset, folder: Path, device: str, watcher: Watcher
) -> list[nn.Module]:
    """At most `count` trained networks, in evaluation mode on the CPU.

    Those that are trained here lie in `folder/models`; the same call again trains what is missing there. InvalidStudy:
    too few of them, an unknown family, or a folder that holds others.
    """
    models = page.models
    if models.family is not None:
        return list(_family(models, data, folder / "models", device, watcher))
    zoo = _zoo(models, page.folder)
    wanted = [place for place, row in enumerate(zoo.rows) if _wanted(row, models)]
    for member in zoo.skipped:
        watcher.say(f"skipped {member.name}: {member.reason}")
    if len(wanted) < 2:
        raise InvalidStudy(f"{page.path}: [models] gives {len(wanted)} trained networks; expected at least 2")
    order = torch.randperm(len(wanted), generator=torch.Generator().manual_seed(models.seed)).tolist()
    # drawn, as networks of one form lie together
    found = [zoo.module(wanted[place]) for place in order[: models.count]]
    for module in found:
        _check(module, data)
    return found


def _zoo(models: Models, base: Path) -> Zoo:
    if models.zoo is not None:
        return open_zoo(base / models.zoo)
    from nasplat.plugins import load_object

    return read_zoo(base / str(models.folder), load_object(str(models.module), base))


def _wanted(row: dict[str, Any], models: Models) -> bool:
    return row["status"] != DIVERGED and (not models.families or row.get("family") in models.families)


def _family(
    models: Models, data: Dataset, folder: Path, device: str, watcher: Watcher
) -> Iterator[nn.Module]:
    make = _maker(str(models.family))
    forms = list(product(models.widths, models.depths))
    drawn = torch.randperm(len(forms), generator=torch.Generator().manual_seed(models.seed)).tolist()
    asked = {name: value for name, value in asdict(models).items() if name not in ("count", "held_out")}
    claim(folder / CLAIM, asked | {"data": data.identity})
    for number in range(models.count):
        width, depth = forms[drawn[number % len(forms)]]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derived_seed(models.seed, number))
            module = make(width, depth, data)
            _check(module, data)
        path = folder / f"{number:04d}.safetensors"
        if path.is_file():
            fill(module, path)
        else:
            start = perf_counter()
            value = _train(module, models, data, Settings(device, derived_seed(models.seed, number, 1)))
            save_weights(module, path)
            told = (
                f"{models.family} of width {width}, depth {depth}: validation {data.task.metric} {value:.4g}"
            )
            watcher.trial(number + 1, models.count, f"{told} ({perf_counter() - start:.0f} s)")
        yield module.cpu().eval()


@torch.no_grad()
def _check(module: nn.Module, data: Dataset) -> None:
    """InvalidStudy: a network that does not take the data's inputs, or that tells other classes."""
    inputs = data.train.inputs[:2]
    try:
        found = tuple(copy.deepcopy(module).eval()(inputs).shape)
    except Exception as error:  # networks from anywhere: each has its own ways to fail
        raise InvalidStudy(
            f"[models] a network does not take inputs {tuple(inputs.shape)} of {data.name}: "
            f"{' '.join(str(error).split())}; give networks for these data"
        ) from error
    if data.classes is not None and found[:2] != (2, data.classes):
        raise InvalidStudy(
            f"[models] a network gives {found} for 2 inputs of {data.name}, which has {data.classes} classes: "
            "give networks for these data"
        )


def _train(module: nn.Module, models: Models, data: Dataset, settings: Settings) -> float:
    """Train in place; the task's metric on the validation split at the end."""
    values = [float("nan")]
    recipe = Recipe(models.epochs, min(64, len(data.train)), models.learning_rate)
    train_network(module, data, recipe, settings, on_epoch=lambda _, value: values.append(value))
    return values[-1]


def _maker(family: str) -> Make:
    if family in FAMILIES:
        return FAMILIES[family]
    if family in SMALL:
        return lambda width, depth, data: _small(family, width, depth, data)
    raise InvalidStudy(
        f"[models] family {family!r} is unknown; {expected_one_of(family, [*FAMILIES, *SMALL])}"
    )


def _small(family: str, width: Width, depth: int, data: Dataset) -> nn.Module:
    if not isinstance(width, int) or len(data.input_shape) != 3:
        raise InvalidStudy(
            f"[models] a {family} network has one width, such as 8, and sees images: got {width}"
        )
    c, h, w = data.input_shape
    return Form(family, (c, h, w), data.classes or 1, width, depth, "relu").make()


def _resnet(width: Width, depth: int, data: Dataset) -> nn.Module:
    try:
        return networks.resnet(depth, **_shape(width, data))
    except ValueError as error:
        raise InvalidStudy(f"[models] {error}") from None


def _vgg(width: Width, depth: int, data: Dataset) -> nn.Module:
    if depth not in VGGS or isinstance(width, int) or len(width) != 5:
        known = ", ".join(map(str, VGGS))
        raise InvalidStudy(
            f"[models] a vgg has depth {known} and five widths; got depth {depth}, widths {width}"
        )
    return VGGS[depth](**_shape(width, data))


def _shape(width: Width, data: Dataset) -> dict[str, Any]:
    if isinstance(width, int):
        raise InvalidStudy(
            f"[models] widths are lists of one width for each stage, such as [4, 8, 16]; got {width}"
        )
    return {"classes": data.classes or 1, "widths": width, "channels": data.input_shape[0]}


FAMILIES: dict[str, Make] = {"resnet": _resnet, "vgg": _vgg}
"""Families by name, beside the small ones of zoos: (width, depth, data) -> module."""
