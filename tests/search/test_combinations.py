"""Real Optuna studies over a space of subsets and positions, each of several parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest

from nasplat.prediction.surrogate import make_surrogate
from nasplat.search import Mirror, RegularizedEvolutionSampler, freeze, make_sampler
from nasplat.space import Arch, Space, members, positions, positions_of, subset

SPACE = Space(
    "pools",
    [
        positions("pools", 9, 2),
        subset("kernels", (3, 5, 7)),
        subset("late", ("a", "b"), 0, 1, {"pools": ["8-1-1"]}),
    ],
)
BEST = SPACE.arch({"pools": "4-3-3", "kernels": "3+7"})


def cost(arch: Arch) -> float:
    """How far an architecture is from the best one."""
    moved = np.abs(np.subtract(positions_of(arch["pools"]), positions_of(BEST["pools"]))).sum()
    return float(moved + len({*members(arch["kernels"])} ^ {*members(BEST["kernels"])}))


def samplers() -> dict[str, Any]:
    return {
        "random": optuna.samplers.RandomSampler(seed=0),
        "tpe": optuna.samplers.TPESampler(seed=0, multivariate=True),
        "nsga2": optuna.samplers.NSGAIISampler(seed=0, population_size=10),
        "evolution": RegularizedEvolutionSampler(10, 3, space=SPACE, seed=0),
    }


@pytest.mark.parametrize("name", ["random", "tpe", "nsga2", "evolution"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_samplers_draw_all_parameters_and_make_architectures(name: str) -> None:
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=samplers()[name])
    found: list[Arch] = []

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        found.append(SPACE.suggest(trial))
        return cost(found[-1]), float(len(members(found[-1]["kernels"])))

    study.optimize(objective, n_trials=40)
    for trial, arch in zip(study.trials, found, strict=True):
        assert trial.distributions == SPACE.distributions()
        assert SPACE.from_params(trial.params) == arch
        SPACE.validate(arch)
    assert len(set(found)) > 10


@pytest.mark.parametrize(
    "name", ["random", "tpe", "nsga2", "regularized_evolution", "gp", "qmc", "predictor"]
)
def test_our_samplers_never_repeat_an_architecture(name: str) -> None:
    arguments: dict[str, Any] = {"population_size": 5} if name in ("nsga2", "regularized_evolution") else {}
    if name == "predictor":
        arguments = {"predictor": "ridge", "startup": 5}

    def sampler(seed: int) -> optuna.samplers.BaseSampler:
        return make_sampler(name, arguments, seed=seed, space=SPACE, surrogates=make_surrogate)

    mirror = Mirror(["minimize"], sampler, SPACE, 3)
    keys = set()
    for number in range(15):
        proposal = mirror.propose(number)
        assert SPACE.from_params(proposal.params) == proposal.arch
        keys.add(proposal.arch.key)
        mirror.put(
            freeze(
                number=number,
                state="complete",
                params=proposal.params,
                distributions=SPACE.distributions(),
                values=[cost(proposal.arch)],
                system_attrs=proposal.system_attrs,
            )
        )
    assert len(keys) == 15
