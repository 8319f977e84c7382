"""Lottery tickets: sparse networks that train as well as dense ones, and the controls that such a claim needs.

Iterative magnitude pruning (arXiv:1803.03635): train, prune the smallest weights, set the others back to what they
were at an early step (arXiv:1903.01611), train again. Beside every ticket stand random masks of equal densities by
layer, always, since they often do as well (arXiv:2009.11094; the best of several is random search, arXiv:2403.08265),
and where asked the ticket's mask on other initial weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

from torch import Tensor, nn

from nasplat.data import derived_seed
from nasplat.errors import NasplatError
from nasplat.prune.scores.evidence import Loss
from nasplat.prune.sparse.lottery_files import Keeper
from nasplat.prune.sparse.plan import MaskPlan
from nasplat.prune.sparse.planning import MaskSettings, plan_masks, random_twin

Fresh: TypeAlias = Callable[[int], nn.Module]
"""A network with the weights of a seed, the same for the same seed."""
Train: TypeAlias = Callable[[nn.Module, range], object]
"""Do these steps of a training, in place: learning rate and batches are functions of the step's number."""
Judge: TypeAlias = Callable[[nn.Module], Mapping[str, float]]
"""Figures of a trained network by name, such as accuracies of the splits."""

TICKET, RANDOM, OTHER, DENSE = "ticket", "random masks", "other weights", "dense"


@dataclass(frozen=True, slots=True)
class LotterySettings:
    """How tickets are drawn.

    steps: of a whole training. rewind: the step whose weights a ticket starts from; 0 for the initial ones.
    densities: of the rounds, falling. score, scope: how weights are ranked, see `plan_masks`. keep: patterns of tensors
    that stay whole. random: random masks of every round, at least one. other_weights: whether every ticket's
    mask is also trained from other initial weights. seed: of networks and random masks.
    """

    steps: int
    rewind: int = 0
    densities: tuple[float, ...] = (0.5, 0.25, 0.125)
    score: str = "magnitude"
    scope: str = "global"
    keep: tuple[str, ...] = ()
    random: int = 1
    other_weights: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        falling = all(a > b for a, b in zip((1.0, *self.densities), self.densities, strict=False))
        if not self.densities or not falling or self.densities[-1] <= 0:
            raise NasplatError(f"densities = {self.densities}: expected falling shares between 1 and 0")
        if not 0 <= self.rewind < self.steps:
            raise NasplatError(f"rewind = {self.rewind}: expected a step from 0 to {self.steps - 1}")
        if self.random < 1:
            raise NasplatError("random = 0: every ticket needs a random mask beside it, give at least 1")


@dataclass(frozen=True, slots=True)
class Draw:
    """One trained network: its arm ("dense", "ticket", "random masks", "other weights"), round and number in it."""

    arm: str
    round: int
    number: int
    density: float
    figures: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """What tells it from all other draws of a lottery."""
        return f"{self.round}, {self.arm}, {self.number}"


@dataclass(frozen=True, slots=True, eq=False)
class Lottery:
    """The draws in their order, the plan of every round's ticket, and the weights that tickets start from."""

    draws: tuple[Draw, ...]
    plans: tuple[MaskPlan, ...]
    early: nn.Module = field(repr=False)

    def best(self, arm: str, by: str, round: int) -> Draw:
        """The draw of an arm in a round with the highest figure: of several random masks, what random search finds."""
        return max((d for d in self.draws if (d.arm, d.round) == (arm, round)), key=lambda d: d.figures[by])

    def rows(self) -> list[dict[str, Any]]:
        """A row for each draw, with a column for each figure: what a data frame is made of."""
        return [{k: v for k, v in asdict(d).items() if k != "figures"} | d.figures for d in self.draws]


def draw_lottery(
    fresh: Fresh,
    train: Train,
    judge: Judge,
    settings: LotterySettings,
    *,
    loss: Loss | None = None,
    folder: Path | None = None,
) -> Lottery:
    """Find a ticket in every round, and train its controls.

    All networks of a round see as many steps; masked weights are held at zero by us. With a folder every finished
    training is kept there, and the same call goes on with the rest, to the same figures. loss: for a score
    that needs gradients.
    NasplatError where `train` moves masked weights, or the folder is of another lottery.
    """
    start = fresh(_network_seed(settings, 0))
    keeper = Keeper(folder, {"settings": asdict(settings)}, start)
    house = _House(fresh, train, judge, settings, keeper)
    early = house.early(start)
    plans: list[MaskPlan] = []
    draws = [house.draw(DENSE, 0, 0, lambda: _Start(early, None, settings.rewind))]
    for number in range(1, len(settings.densities) + 1):
        plans.append(house.plan(number, early, plans[-1] if plans else None, loss))
        draws += [
            house.draw(arm, number, which, at) for arm, which, at in house.arms(plans[-1], early, number)
        ]
    return Lottery(tuple(draws), tuple(plans), early)


@dataclass(frozen=True, slots=True)
class _Start:
    """A network before a training, its masks, and the step that it is at."""

    network: nn.Module
    plan: MaskPlan | None
    step: int


@dataclass(frozen=True, slots=True)
class _House:
    """What all draws of a lottery share."""

    fresh: Fresh
    train: Train
    judge: Judge
    settings: LotterySettings
    keeper: Keeper

    def early(self, start: nn.Module) -> nn.Module:
        """The network at the step that tickets start from."""

        def trained() -> nn.Module:
            if self.settings.rewind:
                self.train(start, range(self.settings.rewind))
            return start

        return self.keeper.network(start, "early", trained)

    def plan(self, number: int, early: nn.Module, within: MaskPlan | None, loss: Loss | None) -> MaskPlan:
        """The masks of a round, from the trained ticket of the round before."""
        ours = self.settings
        options = MaskSettings(ours.keep, loss, within, derived_seed(ours.seed, number))

        def made() -> MaskPlan:
            trained = self.keeper.weights(early, f"weights {number - 1}")
            density = ours.densities[number - 1]
            return plan_masks(trained, density, score=ours.score, scope=ours.scope, settings=options)

        return self.keeper.plan(number, made)

    def arms(
        self, plan: MaskPlan, early: nn.Module, number: int
    ) -> Iterator[tuple[str, int, Callable[[], _Start]]]:
        """The ticket and its controls: what each starts from."""
        settings = self.settings
        yield TICKET, 0, lambda: _Start(early, plan, settings.rewind)
        for which in range(settings.random):
            twin = random_twin(plan, derived_seed(settings.seed, number, which))
            yield RANDOM, which, lambda twin=twin: _Start(early, twin, settings.rewind)  # type: ignore[misc]
        if settings.other_weights:
            yield OTHER, 0, lambda: _Start(self.fresh(_network_seed(settings, number)), plan, 0)

    def draw(self, arm: str, number: int, which: int, start: Callable[[], _Start]) -> Draw:
        """The draw of an arm: as it is kept, or trained now."""
        wanted = Draw(arm, number, which, 1.0)
        known = self.keeper.draw(wanted.name)
        if known is not None:
            return Draw(**known)
        begun = perf_counter()
        at = start()
        network = copy.deepcopy(at.network)
        self._train(network, at)
        figures = {name: float(value) for name, value in self.judge(network).items()}
        density = at.plan.density if at.plan else 1.0
        draw = Draw(arm, number, which, density, figures, perf_counter() - begun)
        weights: dict[str, Tensor] | None = network.state_dict() if arm in (DENSE, TICKET) else None
        self.keeper.keep(draw.name, asdict(draw), f"weights {number}", weights)
        return draw

    def _train(self, network: nn.Module, at: _Start) -> None:
        steps = range(at.step, self.settings.steps)
        if at.plan is None:
            self.train(network, steps)
            return
        with at.plan.hold(network):
            self.train(network, steps)
        if not at.plan.holds(network):
            raise NasplatError("the training moved masked weights: let torch.optim optimisers do its steps")


def _network_seed(settings: LotterySettings, number: int) -> int:
    return derived_seed(settings.seed, 7, number) % 2**63
