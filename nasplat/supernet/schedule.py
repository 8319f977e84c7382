"""When a training does what: phases, and the learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nasplat.errors import TrainingError
from nasplat.supernet.objective import Objective, Teacher, no_teacher
from nasplat.supernet.policy import Policy


@dataclass(frozen=True, slots=True)
class Phase:
    """What happens up to the share `until` of all steps."""

    until: float
    policy: Policy
    objective: Objective
    teacher: Teacher = no_teacher


@dataclass(frozen=True, slots=True)
class Schedule:
    """Phases one after the other, the last until 1.

    identity: the hash of whatever else shapes them, such as the space: a checkpoint is resumed only under its own.
    """

    phases: tuple[Phase, ...]
    identity: str = ""

    def __post_init__(self) -> None:
        ends = [phase.until for phase in self.phases]
        if not ends or ends != sorted(set(ends)) or ends[0] <= 0 or ends[-1] != 1:
            raise TrainingError(
                f"phases end at {ends} of all steps: expected rising shares above 0, the last 1"
            )

    def at(self, step: int, steps: int) -> Phase:
        """The phase of a step (from 0) out of all steps: the first that ends, rounded to a step, after it."""
        return next(phase for phase in self.phases if step < round(phase.until * steps))


def learning_rate(step: int, steps: int, *, peak: float, ramp: float) -> float:
    """Linear warm-up over the first share `ramp` of the steps, then half a cosine to 0 (arXiv:1608.03983, eq. 5).

    Steps count from 0; with w = round(ramp * steps): peak * (s + 1) / w before w, afterwards
    peak * (1 + cos(pi * (s - w) / (steps - w))) / 2.
    """
    rising = round(ramp * steps)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2
