"""How a network is trained (a recipe, which shapes the weights) and where and how that runs (settings)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from nasplat.errors import TrainingError

ProgressCallback = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Gradient descent on batches: what shapes the weights, besides data, network and seed.

    epochs: passes over the training split; its last incomplete batch is left out.
    batch_size: examples a step, of all processes together; one step serves all architectures of the step.
    learning_rate: the peak, after a linear warm-up (share `ramp` of the steps) and before a cosine to 0.
    optimiser: "sgd", with Nesterov momentum, or "adamw" (arXiv:1711.05101), for which about 1e-3 is a learning rate.
    momentum: of SGD, plain where it is 0, and the first beta of AdamW, whose second is 0.999.
    weight_decay: of weights with more than one number a row, so not of norms and biases; 0.05 is usual for AdamW.
    label_smoothing: of the cross entropy, for classification only.
    clip_value: the largest absolute value in a gradient; then clip: the largest norm of all gradients together.
    None for no limit.
    """

    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.2
    ramp: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    clip: float | None = None
    clip_value: float | None = None
    optimiser: str = "sgd"

    def __post_init__(self) -> None:
        expect("epochs", self.epochs, self.epochs >= 1, "at least 1")
        expect("batch_size", self.batch_size, self.batch_size >= 1, "at least 1")
        expect("learning_rate", self.learning_rate, self.learning_rate > 0, "more than 0")
        expect("ramp", self.ramp, 0 <= self.ramp < 1, "0 to below 1, a share of all steps")
        expect("momentum", self.momentum, 0 <= self.momentum < 1, "0 to below 1")
        expect("weight_decay", self.weight_decay, self.weight_decay >= 0, "0 or more")
        expect("label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "0 to below 1")
        expect("clip", self.clip, self.clip is None or self.clip > 0, "more than 0")
        expect("clip_value", self.clip_value, self.clip_value is None or self.clip_value > 0, "more than 0")
        expect("optimiser", self.optimiser, self.optimiser in OPTIMISERS, f"one of {', '.join(OPTIMISERS)}")


def expect(name: str, value: object, fits: bool, expected: str) -> None:
    """Raise TrainingError unless a setting fits."""
    if not fits:
        raise TrainingError(f"{name} = {value}: expected {expected}")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where and how a training runs. Only seed, execution, and rounding by device and precision touch its result.

    device: "cpu", "cuda", "cuda:0"; the network is moved there.
    bf16, channels_last: autocast to bfloat16 and images in channels_last memory; None: on a GPU only.
    execution: how the architectures of a step run: "slice", each with weights of its own size; "mask", each at full
    size; "vmap", all but the first in one batch of masked ones.
    compile: torch.compile what has a fixed shape: of slices the largest and the smallest architecture alone.
    checkpoint: the file to resume from and to write to; None: nothing is kept.
    save_every: seconds between checkpoints. pulse: seconds between looks at the loss, each with one call of
    progress(done steps, all steps, {"loss": mean since the last look}), and one at the end; with "first", that of the
    first architecture of each step alone, where there are others.
    """

    device: str = "cpu"
    seed: int = 0
    bf16: bool | None = None
    channels_last: bool | None = None
    execution: str = "slice"
    compile: bool = False
    checkpoint: Path | None = None
    save_every: float = 30.0
    pulse: float = 0.5
    progress: ProgressCallback | None = None


def make_optimiser(net: nn.Module, recipe: Recipe) -> Optimizer:
    """The recipe's optimiser; weights of more than one number a row decay, norms and biases do not.

    (arXiv:1812.01187, 3.1.) What is a weight is told by its name: "weight" is in the last part of it.
    """
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            decays = "weight" in name.rpartition(".")[2] and parameter.ndim > 1 and parameter[0].numel() > 1
            groups[decays].append(parameter)
    decay = {True: recipe.weight_decay, False: 0.0}
    return OPTIMISERS[recipe.optimiser](
        [{"params": groups[decays], "weight_decay": decay[decays]} for decays in groups], recipe
    )


def _sgd(groups: list[dict[str, Any]], recipe: Recipe) -> Optimizer:
    momentum = recipe.momentum  # torch has no Nesterov step without any
    return SGD(groups, lr=recipe.learning_rate, momentum=momentum, nesterov=momentum > 0)


def _adamw(groups: list[dict[str, Any]], recipe: Recipe) -> Optimizer:
    return AdamW(groups, lr=recipe.learning_rate, betas=(recipe.momentum, 0.999))


OPTIMISERS: dict[str, Callable[[list[dict[str, Any]], Recipe], Optimizer]] = {"sgd": _sgd, "adamw": _adamw}
