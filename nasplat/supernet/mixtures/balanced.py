"""The balanced mixture of supernets: experts that learn which architectures they are for, each for as many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any, ClassVar

from torch import nn

from nasplat.elastic import ElasticSpace
from nasplat.elastic.weights.assigned import EXPERT, AssignedRouter, Rows, assigned_sources
from nasplat.elastic.weights.replace import SHARING, register, replace_sources
from nasplat.errors import NasplatError, TrainingError
from nasplat.space import Space, categorical
from nasplat.supernet.mixtures.assignment import Assigning, CopyFirst, Learner, Ramp
from nasplat.supernet.mixtures.base import Mixture, Setting
from nasplat.supernet.mixtures.linear import check_copies
from nasplat.supernet.mixtures.phases import insert
from nasplat.supernet.probes.load import Tally
from nasplat.supernet.recipe import expect
from nasplat.supernet.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Balanced(Mixture):
    """Complete sets of weights, norms included, and learned scores of which architecture is best with which.

    Balanced Mixture of SuperNets (arXiv:2306.11982). Every step draws the experts of its architectures from

        P(m | a) = softmax_m(tau W[a, m]), balanced so that all experts have the same load,

    and before the next step W[a, m] <- (1 - f) W[a, m] + f r follows the score r of what was trained on one batch of
    the validation split. W starts at 1, the best accuracy that there is, so that all pairs are tried. Probabilities are
    balanced in each step from the scores as they are. Beyond training, an architecture has its most probable expert.
    Kernel transforms and running statistics are no weights of experts: all share them.

    experts: complete sets of weights. choices: those that the expert depends on; all by default. feedback: f.
    temperature: tau in the first and the last step, linear between. balance: without, it is the control.
    shared: the share of the steps, at the start, in which all train one expert, which all others then start from.
    stream: experts stay on the CPU, and only the one that is used comes to the device. One more forward pass of a
    validation batch for each architecture of a step.
    """

    control: ClassVar[Mapping[str, Any] | None] = {"kind": "balanced", "balance": False}
    executions: ClassVar[tuple[str, ...]] = (
        "slice",
    )  # a mask gives every expert a gradient of 0, and it decays

    experts: int = 4
    choices: tuple[str, ...] = ()
    feedback: float = 0.1
    temperature: tuple[float, float] = (1.0, 100.0)
    balance: bool = True
    shared: float = 0.0
    stream: bool = False

    def __post_init__(self) -> None:
        expect("experts", self.experts, self.experts >= 1, "at least 1")
        expect("feedback", self.feedback, 0 < self.feedback <= 1, "above 0, up to 1")
        fits = len(self.temperature) == 2 and all(0 <= number < inf for number in self.temperature)
        expected = "two numbers of 0 or more and finite, the first and the last"
        expect("temperature", list(self.temperature), fits, expected)
        expect("shared", self.shared, 0 <= self.shared < 1, "0 to below 1, a share of all steps")

    def apply(self, net: nn.Module, space: ElasticSpace) -> None:
        rows = Rows.of(space, self.choices)
        if self.experts > len(rows):
            raise NasplatError(
                f"experts = {self.experts}: {space.name} has {len(rows)} combinations of {', '.join(rows.names)}; "
                f"give at most {len(rows)}"
            )
        self.trained(space)  # no choice of the space may have the name
        check_copies(net, self.layers, self.experts, f"{self.experts} experts")
        router = AssignedRouter(rows, self.experts)
        replace_sources(net, assigned_sources(router, stream=self.stream), self.layers)
        register(net, SHARING, router)

    def schedule(self, schedule: Schedule, at: Setting) -> Schedule:
        """The same phases, in which architectures get experts; cut where the experts part in the middle of one.

        TrainingError for data without a validation split, by which experts are chosen.
        """
        if len(at.data.validation) == 0:
            raise TrainingError(
                f"{at.data.name} has no validation examples, by whose score experts are chosen: hold some out"
            )
        steps = at.recipe.epochs * at.steps_per_epoch
        begin = int(self.shared * steps)
        router, space = at.net.get_submodule(SHARING), self.trained(at.space)
        assert isinstance(router, AssignedRouter)
        learner = Learner(
            router,
            pairs=Tally(space),
            ramp=Ramp(*self.temperature, begin, steps),
            feedback=self.feedback,
            sign=1.0 if at.data.task.direction == "maximize" else -1.0,
            balance=self.balance,
            seed=at.seed,
        )
        assigned = schedule.wrapped(lambda policy, first: Assigning(policy, learner, keeps=first))
        if begin:
            assigned = insert(assigned, CopyFirst(), begin, steps)
        return self.marked(replace(assigned, space=space))

    def trained(self, space: Space) -> Space:
        """The space, and the expert of each architecture."""
        return space.extended([categorical(EXPERT, range(self.experts))])
