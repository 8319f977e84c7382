"""A file as a user writes it: a space without networks, functions as metrics, and small data."""

import os
import time
from pathlib import Path

import torch
from torch import nn

from nasplat import Arch, Dataset, Space, Split, Task, categorical, ordinal

CALLS = Path(__file__).parent / "calls.txt"


def space(*, values: int = 6) -> Space:
    """Three choices, one of them conditional: 6 * 6 * 2 + 6 * 6 * 4 architectures."""
    choices = [
        ordinal("a", list(range(1, values + 1))),
        ordinal("b", list(range(1, values + 1))),
        categorical("kind", ["plain", "round", "odd"]),
        ordinal("edge", [1, 2, 3, 4], when={"kind": ["odd"]}),
    ]
    return Space("toy", choices, build=build, input_shape=(4,))


def build(arch: Arch) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 32 * (arch["a"] + 2)), nn.ReLU(), nn.Linear(32 * (arch["a"] + 2), 2))


def ordered(*, values: int = 6) -> Space:
    """The same networks; every choice has an order."""
    return Space("ordered", space(values=values).choices[:2], build=build, input_shape=(4,))


def bare(*, values: int = 6) -> Space:
    """Two choices and no networks, as the rows of a table have them."""
    return Space("bare", space(values=values).choices[:2])


def fragile(*, values: int = 6) -> Space:
    """The same choices; every network with kind "round" fails to build."""

    def build_or_fail(arch: Arch) -> nn.Module:
        if arch["kind"] == "round":
            raise RuntimeError("round networks do not exist")
        return build(arch)

    return Space("fragile", space(values=values).choices, build=build_or_fail, input_shape=(4,))


def narrow(*, values: int = 6) -> Space:
    """The same choices; some networks have too few units for the score nwot."""

    def build_narrow(arch: Arch) -> nn.Module:
        width = 1 if arch["kind"] == "round" else 64
        return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))

    return Space("narrow", space(values=values).choices, build=build_narrow, input_shape=(4,))


SPACE = space
ORDERED = ordered
BARE = bare
FRAGILE = fragile
NARROW = narrow


def gain(candidate) -> float:
    arch = candidate.arch
    return arch["a"] * arch["b"] - 2.0 * (arch["kind"] == "round") + 0.1 * arch.get("edge", 0)


def cost(candidate) -> float:
    return float(candidate.arch["a"] ** 2 + candidate.arch["b"])


def counted(candidate) -> float:
    """`gain`, with a line for every call; it waits as long as PAUSE says."""
    with CALLS.open("a") as file:
        file.write(f"{candidate.arch.key} {os.getpid()}\n")
    time.sleep(float(os.environ.get("PAUSE", "0")))
    return gain(candidate)


def slow(candidate) -> float:
    """`cost`, which says that it was asked and takes its time, when there is time."""
    CALLS.with_name("slow.txt").touch()
    time.sleep(10 * float(os.environ.get("PAUSE", "0")))
    return cost(candidate)


def interrupted(candidate) -> float:
    """`gain`, with Ctrl-C pressed at the call that the file interrupt.txt names."""
    with CALLS.open("a") as file:
        file.write(f"{candidate.arch.key}\n")
    at = CALLS.with_name("interrupt.txt")
    if at.exists() and len(CALLS.read_text().split()) == int(at.read_text()):
        raise KeyboardInterrupt
    return gain(candidate)


def broken(candidate) -> float:
    if candidate.arch["a"] == 3:
        raise ZeroDivisionError("three is not a number here")
    return float("nan") if candidate.arch["a"] == 4 else gain(candidate)


def curve(candidate) -> float:
    """Rises to `gain` in four reported steps."""
    for step in range(1, 5):
        candidate.report(step, gain(candidate) * step / 4)
    return gain(candidate)


def parity(*, n: int = 64) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Two classes by the sign of the sum."""
    x = torch.randn(3, n, 4, generator=torch.Generator().manual_seed(0))
    return {
        name: (part, (part.sum(1) > 0).long())
        for name, part in zip(("train", "validation", "test"), x, strict=True)
    }


def regression() -> Dataset:
    """A task of its own: the mean absolute error of two sums."""
    x = torch.randn(3, 64, 4, generator=torch.Generator().manual_seed(0))
    splits = [Split(part, part[:, :2] * 2 + 1) for part in x]
    task = Task("mae", "minimize", "m", nn.functional.mse_loss, lambda y, t: float((y - t).abs().mean()))
    return Dataset("regression", *splits, task=task)


def images(*, n: int = 96) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Two classes of small images: bright above, or bright below."""
    generator = torch.Generator().manual_seed(0)
    splits = {}
    for name in ("train", "validation", "test"):
        targets = torch.randint(0, 2, (n,), generator=generator)
        inputs = torch.randn(n, 1, 8, 8, generator=generator)
        inputs[:, :, :4] += targets[:, None, None, None]
        inputs[:, :, 4:] += 1 - targets[:, None, None, None]
        splits[name] = (inputs, targets)
    return splits
