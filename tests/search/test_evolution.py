from __future__ import annotations

from collections.abc import Callable, Iterator

import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)
from optuna.trial import FrozenTrial

from nasplat.errors import NasplatError
from nasplat.search import RegularizedEvolutionSampler, freeze
from nasplat.search.evolution import best_of
from nasplat.space import Space, categorical, ordinal

SPACE = Space(
    "small",
    [
        ordinal("depth", (1, 2, 3)),
        categorical("op", ("conv", "pool", "skip")),
        ordinal("width", (8, 16, 32), when={"depth": (2, 3)}),
    ],
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


class TestInPlainOptuna(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    """Optuna's public cases: a population that is full at once, and one that is never full."""

    @pytest.fixture(params=[(1, 1), (4, 2), (1000, 10)])
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return lambda: RegularizedEvolutionSampler(*request.param, seed=0)


def study_of(sampler: BaseSampler, n_trials: int, **kwargs: object) -> optuna.Study:
    study = optuna.create_study(sampler=sampler, **kwargs)  # type: ignore[arg-type]
    study.optimize(
        lambda t: (
            float(t.suggest_int("a", 0, 9) + t.suggest_float("b", 0, 1))
            + len(t.suggest_categorical("c", "xyz"))
        ),
        n_trials=n_trials,
    )
    return study


def test_a_child_differs_from_a_young_parent_in_one_parameter() -> None:
    trials = study_of(RegularizedEvolutionSampler(5, 3, seed=1), 40).trials
    for i, child in enumerate(trials[5:], start=5):
        differences = [sum(child.params[k] != p.params[k] for k in "abc") for p in trials[i - 5 : i]]
        assert 1 in differences


def test_the_first_trials_are_those_of_random_search() -> None:
    ours = study_of(RegularizedEvolutionSampler(10, 3, seed=7), 10)
    theirs = study_of(optuna.samplers.RandomSampler(seed=7), 10)
    assert [t.params for t in ours.trials] == [t.params for t in theirs.trials]


def test_evolution_finds_better_values_than_random_search() -> None:
    def best(sampler: BaseSampler) -> float:
        study = optuna.create_study(sampler=sampler)
        study.optimize(lambda t: float(sum(t.suggest_int(f"x{i}", 0, 9) for i in range(10))), n_trials=100)
        return study.best_value

    random = [best(optuna.samplers.RandomSampler(seed=seed)) for seed in range(3)]
    assert max(best(RegularizedEvolutionSampler(20, 5, seed=seed)) for seed in range(3)) < min(random)


def trial(number: int, values: list[float], **constraints: float) -> FrozenTrial:
    return freeze(
        number=number, state="complete", params={}, distributions={}, values=values, constraints=constraints
    )


def test_the_best_of_a_tournament_follows_the_directions() -> None:
    trials = [trial(0, [1.0]), trial(1, [3.0]), trial(2, [2.0]), trial(3, [3.0])]
    assert [t.number for t in best_of(trials, ["minimize"])] == [0]
    assert [t.number for t in best_of(trials, ["maximize"])] == [1, 3]
    front = [trial(0, [1.0, 1.0]), trial(1, [2.0, 2.0]), trial(2, [2.0, 1.0]), trial(3, [float("inf"), 0.0])]
    assert [t.number for t in best_of(front, ["minimize", "maximize"])] == [0, 1]


def test_feasible_trials_beat_infeasible_ones_whatever_their_values() -> None:
    trials = [trial(0, [9.0], size=2.0, time=-5.0), trial(1, [1.0], size=0.0), trial(2, [5.0], size=1.0)]
    assert [t.number for t in best_of(trials, ["maximize"])] == [1]
    assert [t.number for t in best_of(trials[::2], ["maximize"])] == [2]


def test_with_a_space_plain_optuna_sees_every_architecture_once() -> None:
    study = optuna.create_study(sampler=RegularizedEvolutionSampler(5, 2, space=SPACE, seed=0))
    study.optimize(lambda t: float(len(SPACE.suggest(t))), n_trials=SPACE.size)
    assert {SPACE.from_params(t.params) for t in study.trials} == set(SPACE.enumerate())
    study.optimize(
        lambda t: float(len(SPACE.suggest(t))), n_trials=2
    )  # nothing unseen is left: it may repeat


def test_with_a_space_a_child_is_one_mutation_away_from_a_young_parent() -> None:
    sampler = RegularizedEvolutionSampler(4, 2, space=SPACE, avoid_repeats=False, seed=3)
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda t: float(SPACE.encode(SPACE.suggest(t)).sum()), n_trials=25)
    archs = [SPACE.from_params(t.params) for t in study.trials]
    for i in range(4, 25):
        common = [archs[i].keys() & parent.keys() for parent in archs[i - 4 : i]]
        parents = zip(archs[i - 4 : i], common, strict=True)
        assert 1 in [sum(archs[i][k] != p[k] for k in names) for p, names in parents]


def test_trials_of_another_space_are_no_parents() -> None:
    study = study_of(optuna.samplers.RandomSampler(seed=0), 5)
    study.sampler = RegularizedEvolutionSampler(1, 1, space=SPACE, seed=0)
    SPACE.validate(SPACE.suggest(study.ask()))


def test_a_space_of_one_architecture_is_no_trouble() -> None:
    space = Space("one", [ordinal("a", (1,))])
    study = optuna.create_study(sampler=RegularizedEvolutionSampler(1, 1, space=space))
    study.optimize(lambda t: float(len(space.suggest(t))), n_trials=3)


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0)])
def test_sizes_below_one_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(NasplatError, match="_size is 0: give at least 1"):
        RegularizedEvolutionSampler(*sizes)
