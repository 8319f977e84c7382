"""Images as SIRENs: zoos that are fitted once into a folder, and splits in which no image is on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nasplat.channels import ParameterGraph
from nasplat.data import load_data
from nasplat.prediction import Sample
from nasplat.space import Arch
from nasplat.zoo import SirenForm, Sirens, train_zoo

Numbers = NDArray[np.int_]

HELD_OUT = 1 / 3
"""The share of images that are judged."""


@dataclass(frozen=True, slots=True)
class Show:
    """Which images, and which networks show them: hidden layers of a width; networks: of them all."""

    data: str
    networks: int
    hidden: int
    frequency: float
    steps: int
    width: int = 32

    @property
    def settings(self) -> Sirens:
        """What `nasplat.zoo` makes of it."""
        form = SirenForm(self.width, self.hidden, self.frequency)
        return Sirens(self.networks, steps=self.steps, learning_rate=3e-3, form=form)


SHOWS = {
    "digits, one hidden layer": Show("digits", 3594, 1, 10.0, 300),
    "digits, two hidden layers": Show("digits", 3594, 2, 10.0, 150),
    "fashion, one hidden layer": Show("fashion_mnist", 4000, 1, 10.0, 150),
    "fashion, two hidden layers": Show("fashion_mnist", 4000, 2, 20.0, 150),
}
"""Zoos by name: two networks of each of the 1,797 digits, one of each of 4,000 pictures of clothes."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """All networks of a zoo side by side, what each shows (m,), and a number for its image (m,)."""

    graph: ParameterGraph
    labels: Numbers
    images: Numbers

    def samples(self, places: Numbers) -> list[Sample]:
        """Some of the networks as predictors see them."""
        return [
            Sample(Arch({"number": int(i)}), np.zeros(1, np.float32), weights=self.network(int(i)))
            for i in places
        ]

    def network(self, i: int) -> ParameterGraph:
        """One of them."""
        return ParameterGraph(self.graph.structure, {name: t[i] for name, t in self.graph.tensors.items()})

    def some(self, places: Numbers) -> ParameterGraph:
        """Some of them, side by side."""
        tensors = {name: t[torch.from_numpy(places)] for name, t in self.graph.tensors.items()}
        return ParameterGraph(self.graph.structure, tensors)


@cache
def shown(name: str, folder: str, share: float = 1.0) -> Shown:
    """A zoo by its name in SHOWS, fitted here if the folder has it not; share: of its networks, the first ones."""
    show = SHOWS[name]
    arguments = {"augment": False} if show.data == "fashion_mnist" else {}
    data = load_data(show.data, **arguments)
    zoo = train_zoo(show.settings, data, Path(folder) / name.replace(", ", "_").replace(" ", "_"))
    graphs = [group.graph(torch.zeros(1, 2)) for group in zoo.groups]
    names = graphs[0].structure.shapes
    count = round(share * len(zoo))
    tensors = {key: torch.cat([graph.tensors[key] for graph in graphs])[:count] for key in names}
    words = [f"{row['split']} {row['image']}" for row in zoo.rows][:count]
    labels = np.array([row["label"] for row in zoo.rows])[:count]
    return Shown(
        ParameterGraph(graphs[0].structure, tensors), labels, np.unique(words, return_inverse=True)[1]
    )


def split(images: Numbers, seed: int) -> tuple[Numbers, Numbers]:
    """Places of the networks to learn from and of those to judge; all networks of an image are on one side."""
    order = np.random.default_rng(seed).permutation(images.max() + 1)
    judged = np.isin(images, order[: round(HELD_OUT * len(order))])
    return np.flatnonzero(~judged), np.flatnonzero(judged)
