"""The networks of the study, those that are pruned and those that metanetworks learn from: trained once, kept as files.

A network NAME is two files of a folder: NAME.safetensors, and NAME.json with its form and how it was trained.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import nasplat as nas
from nasplat import networks
from nasplat.data import Dataset, Split, evaluate
from nasplat.measure import count_macs, count_params
from nasplat.supernet import Recipe, Settings, train_network

VALIDATION = 2000
RECIPE = Recipe(epochs=12, batch_size=64, learning_rate=0.1)


@dataclass(frozen=True, slots=True)
class Form:
    """What a network is. family: "resnet" or "vgg", which take images of 14x14 and of 16x16; depth: as in its name."""

    family: str
    depth: int
    widths: tuple[int, ...]

    @property
    def side(self) -> int:
        """Pixels of a side: four times halved, 14 would leave nothing."""
        return 14 if self.family == "resnet" else 16

    @property
    def example(self) -> Tensor:
        """An input (2, 1, side, side)."""
        return torch.zeros(2, 1, self.side, self.side)

    def make(self) -> nn.Module:
        """A network of fresh weights, of the global random state."""
        if self.family == "resnet":
            return networks.resnet(self.depth, widths=self.widths, channels=1)
        vgg = getattr(networks, f"vgg{self.depth}_bn")
        made: nn.Module = vgg(widths=self.widths, channels=1)
        return made


@dataclass(frozen=True, slots=True)
class Plan:
    """A network that is to be trained. folder: "bases" or "models"; held_out: it judges metanetworks, no more."""

    folder: str
    form: Form
    seed: int
    held_out: bool = False

    @property
    def name(self) -> str:
        """Of its files."""
        widths = "-".join(map(str, self.form.widths))
        return f"{self.form.family}{self.form.depth}_{widths}_seed{self.seed}"


BASE = Form("resnet", 20, (8, 16, 32))
BASES = tuple(Plan("bases", BASE, seed) for seed in range(6))
RESNETS = (
    Plan("models", Form("resnet", 14, (6, 12, 24)), 100),
    Plan("models", Form("resnet", 20, (10, 20, 40)), 101),
    Plan("models", Form("resnet", 26, (6, 12, 24)), 102),
    Plan("models", Form("resnet", 14, (10, 20, 40)), 103),
    Plan("models", Form("resnet", 20, (7, 14, 28)), 104, held_out=True),
    Plan("models", Form("resnet", 20, (6, 14, 28)), 105),
    Plan("models", Form("resnet", 26, (8, 16, 32)), 106),
    Plan("models", Form("resnet", 14, (8, 18, 36)), 107),
    Plan("models", Form("resnet", 20, (9, 18, 36)), 108),
    Plan("models", Form("resnet", 26, (7, 16, 32)), 109, held_out=True),
)
"""None of them has the form of the networks that are pruned."""
VGGS = (
    Plan("models", Form("vgg", 11, (16, 32, 48, 64, 64)), 200),
    Plan("models", Form("vgg", 13, (12, 24, 48, 64, 64)), 201),
    Plan("models", Form("vgg", 16, (8, 16, 32, 64, 64)), 202),
    Plan("models", Form("vgg", 19, (8, 16, 32, 48, 48)), 203),
    Plan("models", Form("vgg", 16, (12, 24, 40, 56, 56)), 204, held_out=True),
)


@cache
def dataset(side: int = 14, images: int = 10_000) -> Dataset:
    """Fashion-MNIST averaged over 2x2 pixels to 14x14, `images` for training, others for validation; all of the test.

    side: 16 repeats the pixels of the border once.
    """
    data = nas.load_data("fashion_mnist", limit=images + VALIDATION, validation=VALIDATION, augment=False)
    border = (side - 14) // 2
    train, validation, test = (_small(s, border) for s in (data.train, data.validation, data.test))
    return replace(data, name=f"fashion_mnist_{side}", train=train, validation=validation, test=test)


def _small(split: Split, border: int) -> Split:
    return Split(F.pad(F.avg_pool2d(split.inputs, 2), [border] * 4, mode="replicate"), split.targets)


def train(plan: Plan, here: Path, recipe: Recipe = RECIPE, images: int = 10_000) -> None:
    """Train a network and keep it, unless it is there."""
    folder = here / plan.folder
    if (folder / f"{plan.name}.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    data = dataset(plan.form.side, images)
    torch.manual_seed(plan.seed)
    network = plan.form.make()
    start, cpu = time.perf_counter(), time.process_time()
    train_network(network, data, recipe, Settings(seed=plan.seed, channels_last=True))
    row = {
        "name": plan.name,
        **asdict(plan.form),
        "seed": plan.seed,
        "held_out": plan.held_out,
        "images": images,
        **asdict(recipe),
        "validation_accuracy": evaluate(network, data.validation, data.task),
        "macs": count_macs(network, plan.form.example[:1]),
        "params": count_params(network),
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
    }
    save_file(
        {k: t.contiguous() for k, t in network.state_dict().items()}, folder / f"{plan.name}.safetensors"
    )
    (folder / f"{plan.name}.json").write_text(json.dumps(row, indent=1))  # last: it says that all is there


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A network in eval mode, and its row; path: of its .json."""
    row = json.loads(path.read_text())
    network = Form(row["family"], row["depth"], tuple(row["widths"])).make()
    network.load_state_dict(load_file(path.with_suffix(".safetensors")))
    return network.eval(), row


def load_all(
    here: Path, plans: Sequence[Plan], held_out: bool | None = None
) -> list[tuple[nn.Module, dict[str, Any]]]:
    """Those of the plans that are there; held_out: only such, or only others."""
    wanted = [p for p in plans if held_out is None or p.held_out == held_out]
    paths = [here / p.folder / f"{p.name}.json" for p in wanted]
    return [load(path) for path in paths if path.exists()]
