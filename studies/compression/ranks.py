"""Training at low rank: three ways to the same ranks on one network of linear layers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from nasplat.compress import DlrtStep, DynamicalLowRank, factorise, low_rank_network
from nasplat.data import batches, evaluate
from nasplat.data.dataset import Dataset
from nasplat.data.digits import digits
from nasplat.measure import count_params

LR, EPOCHS, PASSES = 0.3, 20, 2
LAYERS = ("1", "3")
"""Those of low rank; the last layer stays whole."""

RankRow = tuple[str, str, int, str, float, str]


def mlp(seed: int) -> nn.Module:
    """64-128-128-10."""
    torch.manual_seed(seed)
    layers = [nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)]
    return nn.Sequential(nn.Flatten(), *layers)


def descended(net: nn.Module, data: Dataset, seed: int, lr: float) -> nn.Module:
    """Plain stochastic gradient descent, with as many passes."""
    source, optimiser = torch.Generator().manual_seed(seed), torch.optim.SGD(net.parameters(), lr)
    for _ in range(EPOCHS * PASSES):
        for images, labels in batches(data.train, 64, generator=source):
            optimiser.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimiser.step()
    return net


def stepped(net: nn.Module, data: Dataset, seed: int, theta: float | None) -> nn.Module:
    """Dynamical low-rank training."""
    factors = {id(p) for part in net.modules() if isinstance(part, DynamicalLowRank)
               for p in (part.left, part.core, part.right)}  # fmt: skip
    others = torch.optim.SGD([p for p in net.parameters() if id(p) not in factors], LR)
    source, step = torch.Generator().manual_seed(seed), DlrtStep(net, lr=LR, theta=theta, others=others)
    for _ in range(EPOCHS):
        for images, labels in batches(data.train, 64, generator=source):

            def loss(images: torch.Tensor = images, labels: torch.Tensor = labels) -> torch.Tensor:
                return F.cross_entropy(net(images), labels)

            step.step(loss)
    return net


def rank_rows(seed: int) -> Iterator[RankRow]:
    """Accuracy, parameters and ranks; every way has the passes of DLRT, two for each of its steps."""
    data = digits(seed=seed)
    found = {"trained": descended(mlp(seed), data, seed, LR)}
    for theta in (0.15, 0.2):
        net = stepped(low_rank_network(mlp(seed), 48, LAYERS), data, seed, theta)
        ranks = [layer.rank for layer in net.modules() if isinstance(layer, DynamicalLowRank)]
        found[f"DLRT, theta {theta}"] = _plain(net)
        for place, rank in zip(LAYERS, ranks, strict=True):
            yield "mlp", f"DLRT, theta {theta}", seed, f"rank of layer {place}", rank, "1"
        if theta == 0.15:
            wanted = dict(zip(LAYERS, ranks, strict=True))
            for lr in (LR, 0.1):
                two = factorise(mlp(seed), rank=wanted).module.train()
                found[f"two factors of the ranks of theta 0.15, lr {lr}"] = descended(two, data, seed, lr)
            found["trained, then cut to the ranks of theta 0.15"] = factorise(
                found["trained"], rank=wanted
            ).module
    for method, net in found.items():
        yield "mlp", method, seed, "test accuracy", evaluate(net, data.test, data.task), "1"
        yield "mlp", method, seed, "parameters", count_params(net), "1"


def _plain(net: nn.Module) -> nn.Module:
    """The same of ordinary layers."""
    for place in LAYERS:
        net.set_submodule(place, net.get_submodule(place).plain())
    return net
