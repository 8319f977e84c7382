"""What a network of a zoo is and how it is trained, drawn from (seed, number) alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from nasplat.data import generator
from nasplat.files import content_hash
from nasplat.zoo.families import ACTIVATIONS, FAMILIES, Form

RECIPE, WEIGHTS, LABELS, ORDER, FORM = range(5)
"""What a generator (seed, purpose, number) is for: streams that do not touch each other."""

OPTIMISERS: dict[str, tuple[float, float]] = {"adamw": (1e-3, 3e-2), "sgd": (1e-2, 0.5)}
"""The optimisers by name, with the range of their learning rates; SGD has a momentum of 0.9."""

WEIGHT_DECAY, INIT_SCALE, TRAIN_FRACTION = (1e-5, 1e-1), (0.7, 4.0), (0.05, 1.0)
LABEL_NOISE = (0.0, 0.4)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one network is trained.

    learning_rate is constant; weight_decay is that of the optimiser; init_scale multiplies the initial weights of all
    layers (not biases and norms); train_fraction is the share of the training examples that it sees; label_noise the
    share of them whose label is drawn anew; steps the number of updates.
    """

    learning_rate: float
    weight_decay: float
    init_scale: float
    train_fraction: float
    label_noise: float
    steps: int


def draw_recipe(seed: int, number: int, optimiser: str, steps: tuple[int, int]) -> Recipe:
    """The recipe of a network: label noise uniform in its range, everything else uniform in its logarithm."""
    u = torch.rand(6, generator=generator(seed, RECIPE, number), dtype=torch.float64).tolist()
    return Recipe(
        learning_rate=_log_uniform(u[0], *OPTIMISERS[optimiser]),
        weight_decay=_log_uniform(u[1], *WEIGHT_DECAY),
        init_scale=_log_uniform(u[2], *INIT_SCALE),
        train_fraction=_log_uniform(u[3], *TRAIN_FRACTION),
        label_noise=LABEL_NOISE[0] + u[4] * (LABEL_NOISE[1] - LABEL_NOISE[0]),
        steps=round(_log_uniform(u[5], *steps)),
    )


def draw_form(
    seed: int, family: str, group: int, shape: tuple[int, int, int], classes: int
) -> tuple[Form, str]:
    """The form and the optimiser of a family's group, each choice uniform."""
    source = generator(seed, FORM, int(content_hash(family)[:8], 16), group)
    kinds = FAMILIES[family]
    choices = (kinds.widths, kinds.depths, tuple(ACTIVATIONS), tuple(OPTIMISERS))
    picked = [options[int(torch.randint(len(options), (), generator=source))] for options in choices]
    width, depth, activation, optimiser = picked
    return Form(family, shape, classes, int(width), int(depth), str(activation)), str(optimiser)


def _log_uniform(u: float, low: float, high: float) -> float:
    """A number between low and high whose logarithm is uniform, for u uniform in 0 to 1."""
    return low * math.exp(u * math.log(high / low))
