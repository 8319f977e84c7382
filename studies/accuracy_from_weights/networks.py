"""The networks of the study: trained once into a folder, read as samples, split into learned from and judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from nasplat.channels import ParameterGraph
from nasplat.data import Dataset, load_data
from nasplat.prediction import Sample
from nasplat.space import Arch
from nasplat.zoo import Classifiers, Form, Group, Zoo, train_zoo
from nasplat.zoo.classifiers import Job
from nasplat.zoo.recipe import draw_recipe

Numbers = NDArray[np.int_]

FAMILIES = ("plain", "norm", "residual", "depthwise", "attention")
ONE_FORM = Form("plain", (1, 8, 8), 10, width=8, depth=3, activation="relu")
RECIPE = ("learning_rate", "weight_decay", "init_scale", "train_fraction", "label_noise", "steps")
FORM = ("width", "depth", "params")
HELD_OUT = 1 / 3
"""The share of networks that are judged where no family is left out."""


@dataclass(frozen=True, slots=True)
class OneForm:
    """A zoo of one form, whose recipes are drawn as those of `Classifiers`; groups take turns between optimisers."""

    count: int
    seed: int = 0
    group_size: int = 50

    def check(self, data: Dataset) -> None:
        """As for `Classifiers`."""
        self._as_classifiers().check(data)

    def jobs(self, data: Dataset) -> Iterator[Job]:
        """The groups that are to be trained, in order."""
        settings = self._as_classifiers()
        for index, start in enumerate(range(0, self.count, self.group_size)):
            numbers = tuple(range(start, min(start + self.group_size, self.count)))
            optimiser = ("adamw", "sgd")[index % 2]
            recipes = tuple(draw_recipe(self.seed, n, optimiser, settings.steps) for n in numbers)
            yield Job(f"plain-{index:03}", ONE_FORM, optimiser, numbers, recipes, settings)

    def _as_classifiers(self) -> Classifiers:
        return Classifiers(self.count, ("plain",), self.seed, self.group_size)


@dataclass(frozen=True, slots=True)
class Place:
    """Where zoos lie, and how many networks each has."""

    folder: str
    count: int

    def zoo(self, name: str) -> Zoo:
        """The zoo "five families" or "one form", trained here if it is not there yet."""
        settings = {"five families": Classifiers(self.count, FAMILIES), "one form": OneForm(self.count)}[name]
        return train_zoo(settings, load_data("digits"), Path(self.folder) / name.replace(" ", "_"))


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """All networks of a zoo that trained: samples, and the table of facts in the same order, indexed 0, 1, ..."""

    samples: list[Sample]
    table: pd.DataFrame


@cache
def known(place: Place, name: str) -> Known:
    """The networks of a zoo; those that diverged are left out."""
    zoo = place.zoo(name)
    rows = [
        (sample, row) for group in zoo.groups for sample, row in _read(group) if row["status"] == "trained"
    ]
    return Known([sample for sample, _ in rows], pd.DataFrame([row for _, row in rows]))


def _read(group: Group) -> Iterator[tuple[Sample, dict[str, Any]]]:
    graph = group.graph(torch.zeros(1, *group.form["input_shape"]))
    for k, row in enumerate(group.rows):
        own = ParameterGraph(graph.structure, {name: tensor[k] for name, tensor in graph.tensors.items()})
        yield Sample(Arch({"number": row["number"]}), np.zeros(1, np.float32), weights=own), row


def facts(table: pd.DataFrame, recipe: bool) -> NDArray[np.float32]:
    """What a network is, (n, columns): family, width, depth, parameters, activation; and how it was trained."""
    words = pd.get_dummies(table[["family", "activation", *(["optimiser"] if recipe else [])]], dtype=float)
    numbers = table[[*FORM, *(RECIPE if recipe else ())]].astype(float)
    return np.hstack([words.to_numpy(), numbers.to_numpy()]).astype(np.float32)


def forms(table: pd.DataFrame) -> NDArray[Any]:
    """The form of each network, as a word: networks of equal words have equal shapes."""
    return table[["family", "width", "depth", "activation"]].astype(str).agg(" ".join, axis=1).to_numpy()


def split(families: NDArray[Any], setting: str, seed: int) -> tuple[Numbers, Numbers]:
    """Places of the networks to learn from, shuffled, and of those to judge, in order.

    setting: "without X" judges all networks of family X, anything else a third of all.
    """
    order = np.random.default_rng(seed).permutation(len(families))
    left_out = setting.removeprefix("without ") if setting.startswith("without ") else None
    judged = np.zeros(len(families), bool)
    judged[order[: round(HELD_OUT * len(order))]] = True
    if left_out:
        judged = families == left_out
    return order[~judged[order]], np.flatnonzero(judged)
