"""Once-for-All: the largest network first, then smaller ones, one kind of choice after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from nasplat.data import Dataset
from nasplat.errors import TrainingError, expected_one_of
from nasplat.space import Choice, Space, Value
from nasplat.supernet.methods.base import Method, after_warmup, need_classes, training_loss
from nasplat.supernet.morphism import SortChannels
from nasplat.supernet.objective import label_loss, no_teacher, soft_labels
from nasplat.supernet.policy import Uniform
from nasplat.supernet.recipe import expect
from nasplat.supernet.schedule import Morphism, Phase, Schedule
from nasplat.supernet.teacher import Capture, FrozenLargest, calibration_batches

KINDS = ("resolution", "kernel", "paths", "depth", "heads", "ffn", "ratio", "expand", "width")
"""What built-in families can choose, in the order in which it is opened."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A space that has opened one step further: the number of its kind, its length in comparison, the space before."""

    number: int
    length: float
    space: Space
    before: Space


@dataclass(frozen=True, slots=True)
class OFATraining(Method):
    """Progressive shrinking (Once-for-All, arXiv:1908.09791).

    The largest network trains alone. Then one kind of choice after the other is opened, each in phases from its
    largest values down, while what is open stays open; random architectures of the open space learn from labels
    and from the largest network as it was before, its batch norms recalibrated. Channels are sorted
    by importance before every phase.
    The paper starts the learning rate anew in every phase; here one curve spans all of them.

    warmup: share of the steps for the largest alone; 0 where it comes trained.
    order: the kinds, such as kernel for the choices kernel1_1, kernel1_2, ...; those that the space does not have are
    skipped, those that are not named come last. Choices without an order open all values at once.
    per_step: architectures a step, for the first, second, ... kind that is opened, and the last number for the rest.
    early: length of the earlier phases of a kind in comparison with its last one; kinds get equal shares.
    distil: weight of the cross entropy to the teacher, beside the label loss; for classification, else 0.
    sort: whether channels are sorted.

    Control: all choices open from the first step.
    """

    warmup: float = 0.3
    order: tuple[str, ...] = KINDS
    per_step: tuple[int, ...] = (1, 2, 4)
    early: float = 0.2
    distil: float = 1.0
    sort: bool = True

    def __post_init__(self) -> None:
        Method.__post_init__(self)
        expect("order", self.order, len(set(self.order)) == len(self.order), "each kind once")
        numbers = bool(self.per_step) and min(self.per_step) >= 1
        expect("per_step", self.per_step, numbers, "a list of numbers from 1 on")
        expect("early", self.early, self.early > 0, "more than 0")
        expect("distil", self.distil, self.distil >= 0, "0 or more")

    def schedule(self, space: Space, data: Dataset, seed: int) -> Schedule:
        """The largest network, then a phase for every opening."""
        loss, objective = training_loss(data, self), label_loss(training_loss(data, self))
        teacher = FrozenLargest(space, calibration_batches(data.train, seed)) if self.distil else None
        if teacher is not None:
            need_classes(data, "distil")
            objective = soft_labels(loss, weight=self.distil)
        openings = list(self.openings(space))
        total = sum(opening.length for opening in openings)
        ends = accumulate(opening.length / total for opening in openings[:-1])
        phases = [
            Phase(
                end,
                Uniform(opening.space, self.per_step[min(opening.number, len(self.per_step) - 1)], seed),
                objective,
                teacher or no_teacher,
                on_enter=self._morphisms(opening, teacher),
            )
            for end, opening in zip([*ends, 1.0], openings, strict=True)
        ]
        return after_warmup(space, self.warmup, loss, *phases)

    def openings(self, space: Space) -> Iterator[Opening]:
        """The spaces of the phases after the warm-up, each of one more value of a kind's choices; the last is whole."""
        kinds = self._kinds(space)
        values = {c.name: _largest(c, 1) for c in space.choices}
        before = space.restrict(values)
        for number, kind in enumerate(kinds):
            opened = [c for c in space.choices if c.kind == kind]
            count = max(len(c.values) if c.ordered else 2 for c in opened) - 1
            length = 1 / (1 + self.early * (count - 1))
            for k in range(1, count + 1):
                values |= {c.name: _largest(c, k + 1) for c in opened}
                after = space.restrict(values)
                yield Opening(number, length if k == count else self.early * length, after, before)
                before = after

    def _kinds(self, space: Space) -> list[str]:
        """The kinds of a space in the order in which they are opened."""
        found = list(dict.fromkeys(c.kind for c in space.choices if len(c.values) > 1))
        named = [kind for kind in self.order if kind in found]
        if not found or (self.order and not named):
            raise TrainingError(
                f"order = {list(self.order)}: {space.name} has no such kind of choice; "
                f"{expected_one_of(next(iter(self.order), ''), found)}"
            )
        return named + [kind for kind in found if kind not in named]

    def _morphisms(self, opening: Opening, teacher: FrozenLargest | None) -> tuple[Morphism, ...]:
        capture = () if teacher is None else (Capture(teacher),)
        return (*capture, SortChannels(opening.before)) if self.sort else capture


def _largest(choice: Choice, n: int) -> Sequence[Value]:
    """The n largest values; of a choice without an order its first, which is in the largest network, or all."""
    if choice.ordered:
        return choice.values[-n:]
    return choice.values if n > 1 else choice.values[:1]
