"""Shared passes: a score is the same alone and in company, and a pass that fails stops nobody else."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nasplat.scoring import ScoreResult, score, weighted_layers

LAYERED = [
    "params",
    "macs",
    "l2_norm",
    "grad_norm",
    "plain",
    "snip",
    "grasp",
    "fisher",
    "jacov",
    "epe_nas",
    "synflow",
]
NAMES = [*LAYERED, "nwot"]


class Residual(nn.Module):
    """Batch norms, functional ReLUs in place, additions in place onto the output of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.left, self.right = nn.Conv2d(6, 6, 3, padding=1, groups=2), nn.Conv2d(6, 6, 1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        y = self.left(x)
        y += self.right(x)
        return self.head(F.relu_(y).mean((2, 3)))


class Branching(nn.Module):
    """Does not trace: its forward branches on values. One layer runs twice, one never, one drops out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.twice = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)
        self.never, self.head = nn.Conv2d(4, 4, 1), nn.Linear(4, 4)
        self.drop = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(2 if x.abs().sum() >= 0 else 1):
            x = self.drop(F.relu(self.twice(x)))
        return self.head(x.mean((2, 3)))


class Transformer(nn.Module):
    """Patches, attention, layer norms and GELU; no convolution but the first, and no ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.body = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def plain() -> nn.Module:
    """Convolutions, batch norm, pooling and ReLU layers, one in place right behind a convolution."""
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(5, 6, 3),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(24, 4),
    )


def linear() -> nn.Module:
    """Linear layers only, as in a multilayer perceptron."""
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 10), nn.Tanh(), nn.Linear(10, 4))


class Doubled(nn.Module):
    """A parametrization: twice the parameter."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def parametrized() -> nn.Module:
    """A linear layer whose weight is computed from a parameter."""
    net = linear()
    parametrize.register_parametrization(net.get_submodule("1"), "weight", Doubled())
    return net


def spectral() -> nn.Module:
    """A linear layer whose weight moves on a little each time that it is made, as power iterations do."""
    net = linear()
    nn.utils.parametrizations.spectral_norm(net.get_submodule("1"))
    return net


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain": plain,
    "residual": Residual,
    "branching": Branching,
    "transformer": Transformer,
    "linear": linear,
    "parametrized": parametrized,
    "spectral": spectral,
}

IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(5))
LABELS = torch.tensor([0, 1, 2, 0, 3, 1])


def network(name: str) -> nn.Module:
    """A network with weights from a fixed seed."""
    torch.manual_seed(2)
    return NETWORKS[name]()


@cache
def together(name: str) -> dict[str, ScoreResult]:
    """All scores of a network in one call."""
    return score(network(name), IMAGES, LABELS, NAMES, seed=4)


def answer(result: ScoreResult) -> tuple[object, ...]:
    """Everything but the time; NaN equals NaN."""
    value = "none" if math.isnan(result.value) else result.value
    return value, result.per_module, result.status, result.reason


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_score_is_bit_equal_alone_and_in_shared_passes(kind: str, name: str) -> None:
    alone = score(network(kind), IMAGES, LABELS, [name], seed=4)[name]
    assert answer(alone) == answer(together(kind)[name])


@pytest.mark.parametrize("kind", NETWORKS)
def test_scores_of_any_classifier_are_finite_or_say_why_not(kind: str) -> None:
    silent = {name: result.reason for name, result in together(kind).items() if result.status != "ok"}
    expected = {
        name: {"nwot": "the network has no ReLU"}
        for name in ("transformer", "linear", "parametrized", "spectral")
    }
    expected["branching"] = {
        "macs": "the network branches on values: what it computes is not decided by shapes"
    }
    assert silent == expected.get(kind, {})


@pytest.mark.parametrize("kind", NETWORKS)
def test_all_scores_of_layers_name_the_same_layers_in_the_order_of_modules(kind: str) -> None:
    expected, found = list(weighted_layers(network(kind))), together(kind)
    answers = [name for name in LAYERED if found[name].status == "ok"]
    assert len(answers) >= len(LAYERED) - 1
    assert {name: list(found[name].per_module) for name in answers} == dict.fromkeys(answers, expected)


def test_a_layer_that_never_runs_counts_nothing_where_gradients_count() -> None:
    found = together("branching")
    for name in ("grad_norm", "plain", "snip", "grasp", "fisher", "jacov", "epe_nas"):
        assert found[name].per_module["never"] == 0


def test_the_seed_decides_what_drops_out() -> None:
    values = [score(network("branching"), IMAGES, LABELS, ["snip"], seed=s)["snip"].value for s in (4, 4, 5)]
    assert values[0] == values[1] != values[2]


def test_scores_of_a_network_on_the_cpu_seed_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    net, seeded = network("branching"), list[int]()
    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, seeded.append)
    torch.manual_seed(0)
    assert seeded  # what torch's own function does
    seeded.clear()
    assert score(net, IMAGES, LABELS, ["snip", "synflow"])["snip"].status == "ok"
    assert not seeded


def test_scores_work_under_no_grad_in_inference_mode_and_with_frozen_weights() -> None:
    net = network("plain").requires_grad_(False)
    with torch.inference_mode():
        frozen = score(net, IMAGES, LABELS, ["snip", "jacov"], seed=4)
    assert {n: answer(r) for n, r in frozen.items()} == {n: answer(together("plain")[n]) for n in frozen}
    assert not any(p.requires_grad for p in net.parameters())
