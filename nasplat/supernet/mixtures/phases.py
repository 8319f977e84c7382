"""A morphism at any step of a schedule, also in the middle of a phase."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nasplat.supernet.schedule import Morphism, Schedule, Weight


@dataclass(frozen=True, slots=True)
class PartOf:
    """The weights of a phase's losses in a part of it, which began at a share `low` of the phase and ends at `high`."""

    weight: Weight
    low: float
    high: float

    def __call__(self, number: int, done: float) -> float:
        return self.weight(number, self.low + done * (self.high - self.low))


def insert(schedule: Schedule, morphism: Morphism, step: int, steps: int) -> Schedule:
    """The same phases, and a morphism right before a step (from 1 on) out of all steps, after any that is there.

    A phase that is in its middle is cut in two, which share its policy, objective and teacher.
    """
    phases, begin = [], 0
    for phase in schedule.phases:
        end = round(phase.until * steps)
        if begin < step < end:
            share = (step - begin) / (end - begin)
            phases.append(replace(phase, until=step / steps, weight=PartOf(phase.weight, 0.0, share)))
            phase = replace(phase, weight=PartOf(phase.weight, share, 1.0), on_enter=(morphism,))
        elif begin == step < end:
            phase = replace(phase, on_enter=(*phase.on_enter, morphism))
        phases.append(phase)
        begin = end
    return replace(schedule, phases=tuple(phases))
