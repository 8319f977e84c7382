"""What test_world runs in two processes: `RANK=r WORLD_SIZE=2 ... python two_processes.py FOLDER` for r = 0 and 1.

Each process writes what came out of every scenario to FOLDER/<rank>.json.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from nasplat.data import Dataset, Split
from nasplat.elastic import ElasticLinear, ElasticSpace, Size
from nasplat.errors import TrainingError
from nasplat.space import Arch, Space, ordinal
from nasplat.supernet import (
    Judge,
    Phase,
    Recipe,
    Sandwich,
    Schedule,
    Settings,
    UniformTraining,
    World,
    distillation,
    in_place,
    init_world,
    label_loss,
    train,
)
from nasplat.supernet.mixtures import Balanced, Setting
from nasplat.supernet.probes import Tally

SPACE = Space("small", [ordinal("width", (2, 4, 8)), ordinal("depth", (1, 2))])
RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=0.1)  # 9 steps of 24 examples
CROSS = label_loss(F.cross_entropy)


class Net(nn.Module):
    """x (n, 4) -> (n, 3); the second layer has no gradient where depth is 1."""

    def __init__(self, norm: str = "none", dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second, self.last = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.norm = nn.BatchNorm1d(4) if norm == "batch" else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, arch: Mapping[str, Any]) -> Tensor:
        width = arch["width"]
        hidden = F.linear(self.norm(x), self.first.weight[:width], self.first.bias[:width]).tanh()
        if arch["depth"] == 2:
            hidden = hidden + F.linear(hidden, self.second.weight[:width, :width]).tanh()
        return F.linear(self.dropout(hidden), self.last.weight[:, :width], self.last.bias)


def make_data() -> Dataset:
    rng = torch.Generator().manual_seed(7)
    inputs = torch.randn(24, 4, generator=rng)
    split = Split(inputs, inputs[:, :3].argmax(1))

    def noise(x: Tensor, generator: torch.Generator) -> Tensor:
        return x + 0.1 * torch.randn(x.shape, generator=generator)

    return Dataset("small", split, split, split, classes=3, augment=noise)


@dataclass
class Learning:
    """Asks for the one of two random architectures that is worse than what it has been told of it."""

    asked: list[list[Arch]] = field(default_factory=list)
    memory: dict[str, Tensor] = field(default_factory=dict)

    def ask(self, step: int, judge: Judge) -> list[Arch]:
        rng = np.random.default_rng([3, step])
        drawn = [SPACE.sample(rng) for _ in range(2)]
        worst = max(drawn, key=lambda arch: float(judge(arch) - self.memory.get(arch.key, torch.tensor(0.0))))
        self.asked.append([worst, SPACE.sample(rng)])
        return self.asked[-1]

    def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
        self.memory |= {arch.key: loss for arch, loss in zip(archs, losses, strict=True)}

    def state(self) -> dict[str, Tensor]:
        return self.memory

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.memory = dict(state)


@dataclass
class Shake:
    """A morphism that draws random numbers."""

    exact = False

    def __call__(self, net: nn.Module, optimiser: Optimizer) -> None:
        for parameter in net.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))


def weights(net: nn.Module) -> dict[str, Any]:
    return {name: tensor.tolist() for name, tensor in net.state_dict().items()}


def learned(folder: Path | None = None, rank: int = 0, norm: str = "none", **settings: Any) -> dict[str, Any]:
    """All that a schedule can do; weights, what was asked for and what was learned."""
    policy, net = Learning(), Net(norm, seed=rank)
    phases = Phase(0.5, policy, CROSS), Phase(1.0, policy, CROSS, on_enter=(Shake(),))
    report = train(net, make_data(), Schedule(phases, space=SPACE), RECIPE, Settings(**settings))
    asked = [[arch.to_json() for arch in archs] for archs in policy.asked]
    memory = {key: float(loss) for key, loss in policy.memory.items()}
    return {"weights": weights(net), "asked": asked, "memory": memory, "loss": report.loss}


def plain(folder: Path, world: World) -> dict[str, Any]:
    return learned(rank=world.rank)  # the second process starts from other weights


def distilled(folder: Path | None = None, world: World | None = None, norm: str = "none") -> dict[str, Any]:
    net = Net(norm)
    phase = Phase(1.0, Sandwich(SPACE), distillation(F.cross_entropy, alpha=0.5), in_place)
    train(net, make_data(), Schedule((phase,)), replace(RECIPE, clip=0.5))
    return weights(net)


def normed(folder: Path, world: World) -> dict[str, Any]:
    return distilled(norm="batch")


def resumed(folder: Path, world: World) -> dict[str, Any]:
    """Ctrl-C reaches one process only, after step 4 of 9; then both go on from other weights."""

    def interrupt(done: int, total: int, facts: Mapping[str, float]) -> None:
        if done == 4:
            os.kill(os.getpid(), signal.SIGINT)

    try:
        learned(checkpoint=folder / "checkpoint", pulse=0.0, progress=interrupt)
    except KeyboardInterrupt:
        return learned(rank=5 + world.rank, checkpoint=folder / "checkpoint")
    raise AssertionError("the training was not interrupted")


def alone(folder: Path, world: World) -> list[bool]:
    """Who writes and who tells, where each process has a file of its own."""
    path, told = folder / f"checkpoint-{world.rank}", list[int]()
    learned(checkpoint=path, progress=lambda done, total, facts: told.append(done))
    return [path.exists(), bool(told)]


def strewn(folder: Path, world: World) -> str:
    return refusal(partial(learned, checkpoint=folder / f"checkpoint-{world.rank}"))


def uneven(folder: Path, world: World) -> str:
    return refusal(partial(sandwiched, recipe=replace(RECIPE, batch_size=9)))


def poisoned(folder: Path, world: World) -> str:
    """The last example of a batch, which only the second process sees, is not a number."""
    data = make_data()
    spoilt = replace(data.train, inputs=data.train.inputs.index_fill(0, torch.tensor([0]), torch.nan))
    return refusal(partial(sandwiched, data=replace(data, train=spoilt)))


def sandwiched(data: Dataset | None = None, recipe: Recipe = RECIPE) -> None:
    train(Net(), data or make_data(), Schedule((Phase(1.0, Sandwich(SPACE), CROSS),)), recipe)


def refusal(training: Callable[[], object]) -> str:
    try:
        training()
    except TrainingError as error:
        return str(error)
    return ""


def dropped(folder: Path, world: World) -> list[bool]:
    """Which hidden units dropout kept at the first step."""
    net, kept = Net(dropout=0.5), list[list[bool]]()
    net.dropout.register_forward_hook(
        lambda module, inputs, outputs: kept.append((outputs != 0).flatten().tolist())
    )
    train(net, make_data(), Schedule((Phase(1.0, Sandwich(SPACE), CROSS),)), replace(RECIPE, epochs=1))
    return kept[0]


@dataclass
class Remember:
    """A morphism that keeps the running mean that it finds, as a teacher keeps weights."""

    seen: list[float] = field(default_factory=list)
    exact = True

    def __call__(self, net: nn.Module, optimiser: Optimizer) -> None:
        self.seen += net.norm.running_mean.tolist()


def entered(folder: Path, world: World) -> dict[str, list[float]]:
    """The running mean after each process's own first half of a batch, and as a morphism finds it later."""
    net, own, morphism = Net("batch"), list[float](), Remember()
    net.norm.register_forward_hook(lambda norm, *_: own.extend(norm.running_mean.tolist()))
    policy = Sandwich(SPACE)
    phases = Phase(0.5, policy, CROSS), Phase(1.0, policy, CROSS, on_enter=(morphism,))
    train(net, make_data(), Schedule(phases), RECIPE)
    return {"own": own[:4], "found": morphism.seen}


class Experts(nn.Module):
    """x (n, 4) -> (n, 3)."""

    def __init__(self) -> None:
        super().__init__()
        width = Size(8, "width")
        self.first, self.last, self.dropout = (
            ElasticLinear(4, width),
            ElasticLinear(width, 3),
            nn.Dropout(0.3),
        )

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        out: Tensor = self.last(self.dropout(self.first(x, arch).tanh()), arch)
        return out


def mixed(folder: Path, world: World) -> dict[str, Any]:
    """Experts that were asked for, scores and weights of a balanced mixture."""
    space, mixture = (
        ElasticSpace("small", SPACE.choices[:1], network=Experts),
        Balanced(experts=3, shared=0.3),
    )
    net = space.shared(mixture.apply).supernet(world.rank)
    method, data = UniformTraining(epochs=6, batch_size=8, per_step=2), make_data()
    schedule = mixture.schedule(method.schedule(space, data, 0), Setting(net, space, data, method, 0))
    tally = Tally(mixture.trained(space))
    world.follow_main(net)
    train(net, data, tally.watch(schedule), method)
    state = {name: tensor.tolist() for name, tensor in net.state_dict().items()}
    return {"experts": [arch["expert"] for arch in tally.take()], "state": state}


def threads() -> list[str]:
    """The names of this process's threads, those of libraries too; none where the system does not tell."""
    return [(task / "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]


SCENARIOS: dict[str, Callable[[Path, World], Any]] = {
    scenario.__name__: scenario
    for scenario in (
        plain,
        distilled,
        normed,
        resumed,
        alone,
        strewn,
        uneven,
        poisoned,
        dropped,
        entered,
        mixed,
    )
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    here, together = Path(sys.argv[1]), init_world()
    found = {name: scenario(here, together) for name, scenario in SCENARIOS.items()}
    together.close()
    found["threads"] = threads()
    (here / f"{together.rank}.json").write_text(json.dumps(found))
