"""When a training does what: phases, and the learning rate."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, Self, runtime_checkable

from torch import Tensor, nn
from torch.optim import Optimizer

from nasplat.errors import TrainingError
from nasplat.space import Space
from nasplat.supernet.objective import Objective, Teacher, no_teacher
from nasplat.supernet.policy import Policy

Weight = Callable[[int, float], float]
"""(number of an architecture in its step, share of the phase that is done) -> factor of its loss.

Numbers and shares start at 0; a share stays below 1. The factor shapes the gradient only: policies and reports hear
of the loss itself.
"""


def evenly(number: int, done: float) -> float:
    """Every architecture of a step counts alike."""
    return 1.0


class Morphism(Protocol):
    """Edits a supernet in place when a phase begins, and its optimiser's state along with it."""

    @property
    def exact(self) -> bool:
        """Whether the largest architecture computes the same function as before."""
        ...

    def __call__(self, net: nn.Module, optimiser: Optimizer) -> None: ...


@runtime_checkable
class Stateful(Protocol):
    """A policy, objective or teacher that learns: its state is in checkpoints, so that resuming is exact.

    A teacher that is the network as it was when a phase began is one: a morphism of that phase holds it and fills it.
    """

    def state(self) -> dict[str, Tensor]:
        """What has been learned, as named tensors on any device; empty before anything has."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state` gave, on the training's device. Called once, before the first step, on a new part.

        Only with a state that was not empty; morphisms do not run again, so the tensors must do.
        """
        ...


@dataclass(frozen=True, slots=True)
class Phase:
    """What happens up to the share `until` of all steps; `on_enter` right before its first step, if it has one."""

    until: float
    policy: Policy
    objective: Objective
    teacher: Teacher = no_teacher
    weight: Weight = evenly
    on_enter: tuple[Morphism, ...] = ()


@dataclass(frozen=True, slots=True)
class Schedule:
    """Phases one after the other, the last until 1.

    identity: the hash of whatever else shapes them, such as the space: a checkpoint is resumed only under its own.
    space: of their architectures; whoever masks them needs to know the choices.
    executions: those that it can be run in, by the names of Settings.execution; None: all.
    """

    phases: tuple[Phase, ...]
    identity: str = ""
    space: Space | None = None
    executions: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        ends = [phase.until for phase in self.phases]
        if not ends or ends != sorted(set(ends)) or ends[0] <= 0 or ends[-1] != 1:
            raise TrainingError(
                f"phases end at {ends} of all steps: expected rising shares above 0, the last 1"
            )

    def at(self, step: int, steps: int) -> Phase:
        """The phase of a step (from 0) out of all steps: the first that ends, rounded to a step, after it."""
        return next(phase for phase in self.phases if step < round(phase.until * steps))

    def done(self, step: int, steps: int) -> float:
        """The share of its phase that is done before a step: 0 at the first one."""
        ends = [0, *(round(phase.until * steps) for phase in self.phases)]
        number = bisect_right(ends, step)
        return (step - ends[number - 1]) / (ends[number] - ends[number - 1])

    def wrapped(self, wrap: Callable[[Policy, bool], Policy]) -> Self:
        """The same phases with other policies, one for each policy, also where several phases share it.

        wrap: (policy, whether it is the first) -> policy.
        """
        wrapped: dict[int, Policy] = {}
        for phase in self.phases:
            if id(phase.policy) not in wrapped:
                wrapped[id(phase.policy)] = wrap(phase.policy, not wrapped)
        phases = [replace(phase, policy=wrapped[id(phase.policy)]) for phase in self.phases]
        return replace(self, phases=tuple(phases))

    @property
    def stateful(self) -> dict[str, Stateful]:
        """The parts that learn, by "<number of the phase>.<role>"; one of several phases is named by the first."""
        found: dict[str, Stateful] = {}
        for number, phase in enumerate(self.phases):
            for role in ("policy", "objective", "teacher"):
                part = getattr(phase, role)
                if isinstance(part, Stateful) and not any(part is other for other in found.values()):
                    found[f"{number}.{role}"] = part
        return found


def learning_rate(step: int, steps: int, *, peak: float, ramp: float) -> float:
    """Linear warm-up over the first share `ramp` of the steps, then half a cosine to 0 (arXiv:1608.03983, eq. 5).

    Steps count from 0; with w = round(ramp * steps): peak * (s + 1) / w before w, afterwards
    peak * (1 + cos(pi * (s - w) / (steps - w))) / 2.
    """
    rising = round(ramp * steps)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2
