"""A small trained network, its data, and an order to prune it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from nasplat.data import load_data
from nasplat.export import export
from nasplat.export.verification import Reproduction, Validation
from nasplat.measure import Repeats, measure_latency
from nasplat.prune import PruneSettings
from nasplat.study.pruning import Delivery, Finetuning, PruneOrder, figures
from nasplat.supernet import Recipe, train_network

from .nets import Small

NETS = Path(__file__).with_name("nets.py")
Order = Callable[..., PruneOrder]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a `Small` that was trained on the stripes."""
    torch.manual_seed(0)
    module = Small()
    train_network(module, load_data(f"{NETS}:stripes"), Recipe(epochs=12, batch_size=16, learning_rate=0.05))
    path = tmp_path_factory.mktemp("trained") / "small.safetensors"
    safetensors.torch.save_file(module.state_dict(), path)
    return path


@pytest.fixture
def place(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the networks' file and the weights in it."""
    shutil.copy(NETS, tmp_path / "nets.py")
    shutil.copy(trained, tmp_path / "small.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def order(place: Path) -> Order:
    """An order for the trained network: half the MACs, one epoch of finetuning, unless it says otherwise."""

    def make(**changes: Any) -> PruneOrder:
        given: dict[str, Any] = {
            "model": "nets.py:small",
            "target": {"speedup": 2.0},
            "weights": Path("small.safetensors"),
            "data": "nets.py:stripes",
            "finetuning": Finetuning(1, batch_size=16),
            "settings": PruneSettings(batch=2),
        }
        return PruneOrder(**(given | changes))

    return make


@pytest.fixture
def delivery(place: Path) -> Callable[..., Delivery]:
    """Where the result goes."""

    def make(folder: str = "small", **changes: Any) -> Delivery:
        return Delivery(place / folder, **changes)

    return make


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short measurements, and bundles that no further process reads: for tests of what happens around them."""

    def unread(folder: Path, formats: tuple[str, ...], validation: Validation) -> dict[str, Reproduction]:
        return {name: Reproduction(0.0, validation.value(validation.outputs)) for name in formats}

    repeats = Repeats(minimum=3, warmup_s=0.0, budget_s=0.0)
    monkeypatch.setattr(figures, "measure_latency", partial(measure_latency, repeats=repeats))
    monkeypatch.setattr(figures, "TRIES", 1)
    monkeypatch.setattr(export, "verify", unread)
