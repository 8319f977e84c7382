"""Two networks exported once in every format: a fresh process per export costs seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasplat.data import CLASSIFICATION
from nasplat.export import Bundle, export_network

from .nets import Functional, Residual, perceptron, with_statistics

CARD: dict[str, Any] = {
    "metrics": {"accuracy": {"value": 0.97, "unit": "1", "origin": "seed 0"}, "params": 3389},
    "latency": {"median_ms": 1.25, "iqr_ms": 0.1, "device": {"name": "a quiet CPU"}},
    "origin": {"study": "digits", "trial": 17},
    "architecture": {"depth1": 2},
}


@dataclass
class Exported:
    """A network, what it was exported with, and its bundle."""

    module: nn.Module
    inputs: Tensor
    targets: Tensor
    bundle: Bundle


Export = Callable[..., Bundle]


def export(module: nn.Module, folder: Path, inputs: Tensor, targets: Tensor, **options: Any) -> Bundle:
    """An export with the card and task of these tests."""
    given = {"formats": ("state",), "task": CLASSIFICATION, "card": CARD} | options
    return export_network(module, folder, inputs=inputs, targets=targets, **given)


def make(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A network with its validation inputs (n, ...) and targets (n,)."""
    kinds = {
        "residual": (Residual, (1, 8, 8)),
        "functional": (Functional, (1, 8, 8)),
        "perceptron": (perceptron, (6,)),
    }
    build, shape = kinds[name]
    torch.manual_seed(0)
    inputs = torch.randn(300, *shape)
    module = with_statistics(build(), inputs)
    with torch.no_grad():
        targets = module(inputs).argmax(1)
    targets[::3] = 0
    return module, inputs, targets


@pytest.fixture(scope="session", params=["residual", "functional"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A network exported in all formats."""
    module, inputs, targets = make(request.param)
    folder = tmp_path_factory.mktemp("export") / request.param
    return Exported(
        module, inputs, targets, export(module, folder, inputs, targets, formats=("onnx", "state", "pt2"))
    )


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A perceptron exported as state only: copy its folder before changing it."""
    module, inputs, targets = make("perceptron")
    folder = tmp_path_factory.mktemp("export") / "perceptron"
    return Exported(module, inputs, targets, export(module, folder, inputs, targets))
