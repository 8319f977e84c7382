"""What a phase adds to the loop: a judge, weights, morphisms at its first step, parts that learn."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from nasplat.data import Dataset
from nasplat.space import Arch, Space
from nasplat.supernet import (
    Fixed,
    Judge,
    Phase,
    Policy,
    Recipe,
    Sandwich,
    Schedule,
    Settings,
    Uniform,
    distillation,
    in_place,
    label_loss,
    train,
)

CROSS = label_loss(F.cross_entropy)
RECIPE = Recipe(epochs=4, batch_size=8)  # 12 steps


class Normed(nn.Module):
    """x (n, 4) -> (n, 3), with running statistics and dropout, the same in every architecture but for a factor."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.dropout, self.last = nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        out: Tensor = self.last(self.dropout(self.norm(x))) * arch["width"]
        return out


@dataclass(frozen=True)
class Asking(Fixed):
    """Judges every architecture twice before it asks for all of them."""

    verdicts: list[list[Tensor]] = field(default_factory=list)

    def ask(self, step: int, judge: Judge) -> list[Arch]:
        self.verdicts.append([judge(arch) for arch in (*self.archs, *self.archs)])
        return list(self.archs)


def trained(net: nn.Module, data: Dataset, *phases: Phase, recipe: Recipe = RECIPE) -> nn.Module:
    train(net, data, Schedule(phases), recipe)
    return net


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(x.equal(y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_the_judge_gives_the_loss_of_the_step_and_leaves_no_trace(space: Space, data: Dataset) -> None:
    torch.manual_seed(0)
    net, other = Normed(), Normed()
    other.load_state_dict(net.state_dict())
    heard: list[Sequence[Tensor]] = []

    class Listening(Asking):
        def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
            heard.append(losses)

    policy = Listening((space.largest(), space.smallest()))
    trained(net, data, Phase(1.0, policy, CROSS))
    trained(other, data, Phase(1.0, Fixed(policy.archs), CROSS))
    assert equal(net, other)
    for verdicts, losses in zip(policy.verdicts, heard, strict=True):
        assert not any(verdict.requires_grad for verdict in verdicts)
        assert verdicts[0].equal(losses[0])  # the first forward pass of the step meets the same dropout
        assert verdicts[0].equal(verdicts[2])
        assert verdicts[1].equal(verdicts[3])
        assert not verdicts[0].equal(verdicts[1])


def test_the_judge_goes_by_labels_where_the_objective_listens_to_a_teacher(
    space: Space,
    data: Dataset,
    make_net,  # type: ignore[no-untyped-def]
) -> None:
    both = (space.largest(), space.smallest())
    policies = Asking(both), Asking(both)
    for policy, alpha in zip(policies, (0.0, 0.9), strict=True):
        objective = distillation(F.cross_entropy, alpha=alpha)
        trained(
            make_net(),
            data,
            Phase(1.0, policy, objective, in_place),
            recipe=replace(RECIPE, learning_rate=1e-9),
        )
    assert torch.tensor(policies[0].verdicts).allclose(torch.tensor(policies[1].verdicts), atol=1e-6)


def test_a_weight_scales_the_gradient_of_its_architecture_over_the_phase(
    space: Space,
    data: Dataset,
    make_net,  # type: ignore[no-untyped-def]
) -> None:
    """Against one backward pass of the weighted sum, with plain gradient descent written by hand."""
    data = replace(data, augment=None)
    recipe = Recipe(epochs=4, batch_size=24, momentum=1e-9, weight_decay=0.0, ramp=0.0)
    asked: list[tuple[int, float]] = []

    def weight(number: int, done: float) -> float:
        asked.append((number, done))
        return 1.0 if number == 0 else 0.1 + done

    archs, reference = (space.largest(), space.smallest()), make_net()
    first = Phase(0.25, Fixed(archs[:1]), CROSS)
    net = trained(make_net(), data, first, Phase(1.0, Fixed(archs), CROSS, weight=weight), recipe=recipe)
    assert asked == [(0, 0.0), (1, 0.0), (0, 1 / 3), (1, 1 / 3), (0, 2 / 3), (1, 2 / 3)]
    for step in range(4):
        big, small = (F.cross_entropy(reference(data.train.inputs, a), data.train.targets) for a in archs)
        loss = big if step == 0 else (big + (0.1 + (step - 1) / 3) * small) / 2
        rate = 0.1 * (1 + np.cos(np.pi * step / 4))
        for p, grad in zip(
            reference.parameters(), torch.autograd.grad(loss, list(reference.parameters())), strict=True
        ):
            p.data.sub_(rate * grad)
    for ours, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@dataclass
class Shrink:
    """A morphism: all weights and all momenta times a factor; counts how often it ran."""

    factor: float = 0.5
    runs: list[int] = field(default_factory=list)
    exact = False

    def __call__(self, net: nn.Module, optimiser: Optimizer) -> None:
        self.runs.append(sum("momentum_buffer" in optimiser.state[p] for p in net.parameters()))
        for parameter in net.parameters():
            parameter.data.mul_(self.factor)
            if "momentum_buffer" in optimiser.state[parameter]:
                optimiser.state[parameter]["momentum_buffer"].mul_(self.factor)


def test_morphisms_run_once_and_in_order_right_before_the_first_step_of_their_phase(
    space: Space,
    data: Dataset,
    make_net,  # type: ignore[no-untyped-def]
) -> None:
    only = Fixed((space.largest(),))
    early, late, never = Shrink(), Shrink(), Shrink()
    phases = (
        Phase(0.01, only, CROSS, on_enter=(never,)),  # of 12 steps: none
        Phase(0.5, only, CROSS, on_enter=(early,)),
        Phase(1.0, only, CROSS, on_enter=(late, Shrink(0.0))),
    )
    tiny = replace(RECIPE, learning_rate=1e-12)
    net, start = trained(make_net(), data, *phases, recipe=tiny), make_net()
    assert (never.runs, early.runs, late.runs) == ([], [0], [len(list(start.parameters()))])
    assert all(p.abs().max() < 1e-10 for p in net.parameters())


@dataclass
class Learning:
    """A policy that learns: it asks for what had the lowest loss at a draw, and remembers all losses."""

    space: Space
    memory: dict[str, Tensor] = field(default_factory=dict)

    def ask(self, step: int, judge: Judge) -> list[Arch]:
        rng = np.random.default_rng([3, step])
        drawn = [self.space.sample(rng) for _ in range(2)]
        worst = max(drawn, key=lambda arch: float(judge(arch) - self.memory.get(arch.key, torch.tensor(0.0))))
        return [self.space.largest(), worst]

    def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
        for arch, loss in zip(archs, losses, strict=True):
            self.memory[arch.key] = 0.5 * self.memory.get(arch.key, torch.tensor(0.0)) + loss

    def state(self) -> dict[str, Tensor]:
        return self.memory

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.memory = dict(state)


@dataclass
class Snapshot:
    """A teacher: the network as it was when a phase began."""

    make: Callable[[], nn.Module]
    arch: Arch
    net: nn.Module | None = None

    def __call__(self, inputs: Tensor, outputs: Tensor | None) -> Tensor:
        assert self.net is not None
        with torch.no_grad():
            said: Tensor = self.net(inputs, self.arch)
        return said

    def state(self) -> dict[str, Tensor]:
        return {} if self.net is None else dict(self.net.state_dict())

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.net = self.make().eval()
        self.net.load_state_dict(dict(state))


@dataclass
class Capture:
    """The morphism that fills it."""

    teacher: Snapshot
    exact = True

    def __call__(self, net: nn.Module, optimiser: Optimizer) -> None:
        assert self.teacher.net is None, "captured twice"
        self.teacher.net = copy.deepcopy(net).eval()


def eventful(space: Space, make: Callable[[], nn.Module]) -> Schedule:
    """Three phases: one that learns, one with morphisms and a captured teacher, one that goes on with both."""
    learning, captured = Learning(space), Snapshot(make, space.largest())
    objective = distillation(F.cross_entropy, alpha=0.5)
    return Schedule(
        (
            Phase(0.3, learning, CROSS),
            Phase(0.6, Sandwich(space), objective, captured, on_enter=(Capture(captured), Shrink(0.9))),
            Phase(1.0, learning, objective, captured),
        ),
        space.hash,
    )


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("stop", [1, 3, 4, 5, 7, 8, 11])  # phases begin at 4 and 7
def test_a_training_that_learns_morphs_and_captures_resumes_to_the_same_weights(
    stop: int,
    optimiser: str,
    space: Space,
    data: Dataset,
    make_net,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    recipe = replace(RECIPE, optimiser=optimiser, learning_rate=0.01)

    def run(seed: int, **arguments: object) -> nn.Module:
        net, schedule = make_net(seed, dropout=0.3), eventful(space, lambda: make_net(5, dropout=0.3))
        train(net, data, schedule, recipe, Settings(pulse=0, **arguments))  # type: ignore[arg-type]
        return net

    def interrupt(done: int, total: int, facts: Mapping[str, float]) -> None:
        if done == stop:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(0, checkpoint=tmp_path / "checkpoint", progress=interrupt)
    assert equal(run(1, checkpoint=tmp_path / "checkpoint"), run(0))


def test_the_parts_that_learn_are_listed_once(space: Space, make_net) -> None:  # type: ignore[no-untyped-def]
    schedule = eventful(space, make_net)
    assert list(schedule.stateful) == ["0.policy", "1.teacher"]
    plain: Policy = Uniform(space)
    assert Schedule((Phase(1.0, plain, CROSS),)).stateful == {}
