"""Search guided by a predictor: in plain Optuna, in a mirror, with few and with many trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from numpy.typing import NDArray
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, MultiObjectiveSamplerTestCase

from nasplat.errors import NasplatError
from nasplat.search import Hunt, Mirror, PredictorSampler, freeze, make_sampler
from nasplat.search import predictor as module
from nasplat.space import Arch, ArchGraph, Notation, Space, categorical, ordinal

Floats = NDArray[np.float64]
SPACE = Space(
    "small",
    [
        ordinal("depth", (1, 2, 3)),
        categorical("op", ("conv", "pool", "skip")),
        ordinal("width", (8, 16, 32), when={"depth": (2, 3)}),
    ],
)
LARGE = Space("large", [ordinal(f"x{i}", tuple(range(10))) for i in range(8)])


class Linear:
    """Least squares on encodings with a constant deviation; it keeps what it was given to learn."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.given: list[tuple[list[Arch], Floats]] = []
        self.asked: list[Sequence[Arch]] = []

    def __call__(self, archs: Sequence[Arch], values: Floats, seed: int) -> Any:
        self.given.append((list(archs), values))
        weights = np.linalg.lstsq(self._x(archs), values, rcond=None)[0]

        def belief(others: Sequence[Arch]) -> tuple[Floats, Floats]:
            self.asked.append(others)
            return self._x(others) @ weights, np.full(len(others), 0.1)

        return belief

    def _x(self, archs: Sequence[Arch]) -> Floats:
        return np.array([[1.0, *self.space.encode(arch)] for arch in archs])


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


class TestInPlainOptuna(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    """Optuna's public cases. Their parameters are not those of the space and are drawn at random."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: PredictorSampler(SPACE, Linear(SPACE), Hunt(startup=2, pool=8), seed=0)


def total(arch: Mapping[str, Any]) -> float:
    return float(sum(arch[f"x{i}"] for i in range(8)))


def optimized(
    sampler: BaseSampler, n_trials: int, value: Callable[[Arch], Any] = total, **kwargs: Any
) -> Any:
    study = optuna.create_study(sampler=sampler, **kwargs)
    study.optimize(lambda t: value(LARGE.suggest(t)), n_trials=n_trials)
    return study


@pytest.mark.parametrize("acquisition", ["thompson", "ucb", "ei"])
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_it_finds_what_a_fitting_surrogate_knows(acquisition: Any, direction: str) -> None:
    sampler = PredictorSampler(LARGE, Linear(LARGE), Hunt(20, acquisition), seed=1)
    best = optimized(sampler, 50, direction=direction).best_value
    random = optimized(optuna.samplers.RandomSampler(seed=1), 50, direction=direction).best_value
    assert abs(best - random) > 8  # of a range of 72
    assert (best > random) == (direction == "maximize")


def test_the_first_trials_are_random_and_the_surrogate_is_not_asked() -> None:
    surrogate = Linear(LARGE)
    optimized(PredictorSampler(LARGE, surrogate, Hunt(startup=6), seed=0), 9)
    assert [len(archs) for archs, _ in surrogate.given] == [6, 7, 8]


def test_the_surrogate_learns_from_complete_finite_trials_of_the_space_only() -> None:
    surrogate = Linear(SPACE)
    study = optuna.create_study(direction="maximize")
    archs = list(SPACE.enumerate())
    states = ["complete"] * 4 + ["pruned", "failed", "dropped", "running", "running", "complete"]
    for number, state in enumerate(states):
        value = float("inf") if number == 9 else float(number)
        given = [value] if state == "complete" else None
        params, drawn = SPACE.params(archs[number]), SPACE.distributions()
        study.add_trial(freeze(number=number, state=state, params=params, distributions=drawn, values=given))
    study.add_trial(optuna.trial.create_trial(value=1.0))  # of no space
    study.sampler = PredictorSampler(SPACE, surrogate, Hunt(startup=4, pool=200), seed=0)
    new = SPACE.suggest(study.ask())
    ((learned, values),) = surrogate.given
    assert learned == [archs[i] for i in (3, 2, 1, 0)]  # the best first
    assert values.tolist() == sorted(values, reverse=True)
    assert new not in archs[:10]
    assert {*surrogate.asked[0]} == {*archs[10:]}  # also what others are busy with counts as seen


def test_the_pool_has_neighbours_of_the_best_and_random_architectures() -> None:
    surrogate = Linear(LARGE)
    study = optimized(PredictorSampler(LARGE, surrogate, Hunt(startup=10, pool=40, parents=1), seed=0), 11)
    (pool,) = surrogate.asked
    best = min(study.trials[:10], key=lambda t: t.value)
    near = {*LARGE.neighbours(LARGE.from_params(best.params))}
    assert len({*pool}) == len(pool) == 40
    assert near <= {*pool}  # ordered choices have two neighbours each at most: they fit into half the pool


def test_the_better_half_of_many_trials_is_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEARNED", 10)
    surrogate = Linear(LARGE)
    study = optimized(PredictorSampler(LARGE, surrogate, Hunt(startup=40, pool=10), seed=0), 41)
    (learned, _) = surrogate.given[0]
    ranked = sorted(study.trials[:40], key=lambda t: t.value)
    assert len({*learned}) == 10
    assert {LARGE.from_params(t.params) for t in ranked[:4]} <= {*learned}


def test_several_objectives_spread_over_the_front() -> None:
    sampler = PredictorSampler(LARGE, Linear(LARGE), Hunt(startup=20), seed=0)

    def both(arch: Arch) -> tuple[float, float]:
        return total(arch), sum(arch[f"x{i}"] * (-1) ** i for i in range(8))

    found = optimized(sampler, 60, both, directions=["maximize", "minimize"]).trials
    gains = np.array([t.values[0] - t.values[1] for t in found])
    assert gains[20:].mean() > gains[:20].mean() + 10
    assert len({t.values[0] for t in found[40:]}) > 5


def test_every_architecture_is_seen_once_before_one_repeats() -> None:
    study = optuna.create_study(sampler=PredictorSampler(SPACE, Linear(SPACE), Hunt(startup=3), seed=0))
    study.optimize(lambda t: float(len(SPACE.suggest(t))), n_trials=SPACE.size)
    assert {SPACE.from_params(t.params) for t in study.trials} == {*SPACE.enumerate()}
    study.optimize(lambda t: float(len(SPACE.suggest(t))), n_trials=2)


def test_a_sampler_of_another_seed_proposes_something_else_from_the_same_trials() -> None:
    study = optimized(optuna.samplers.RandomSampler(seed=0), 25)

    def proposed(seed: int) -> Arch:
        sampler = PredictorSampler(LARGE, Linear(LARGE), seed=seed)
        trial = freeze(number=25, state="running", params={}, distributions={})
        return LARGE.from_params(sampler.sample_relative(study, trial, LARGE.distributions()))

    assert proposed(1) == proposed(1) != proposed(2)


def test_the_arguments_of_a_study_file_reach_it_and_its_surrogate() -> None:
    asked: list[Any] = []

    def surrogates(*given: Any) -> Linear:
        asked.append(given)
        return Linear(SPACE)

    table = {"predictor": "forest", "arguments": {"trees": 9}, "startup": 5, "acquisition": "ucb", "pool": 7}
    sampler: Any = make_sampler("predictor", table, seed=1, space=SPACE, surrogates=surrogates)
    assert asked == [(SPACE, "forest", {"trees": 9})]
    assert sampler.hunt == Hunt(startup=5, acquisition="ucb", pool=7)
    mirror = Mirror(["minimize"], lambda seed: sampler, SPACE, 0)
    SPACE.validate(mirror.propose(0).arch)


@pytest.mark.parametrize(("graph", "name"), [(None, "blend"), (lambda arch: ArchGraph((), ()), "ridge")])
def test_the_predictor_that_is_not_named_depends_on_whether_there_are_graphs(graph: Any, name: str) -> None:
    space = Space("s", SPACE.choices, notation=Notation(graph=graph))
    asked: list[Any] = []

    def surrogates(*given: Any) -> Linear:
        asked.append(given)
        return Linear(space)

    make_sampler("predictor", {}, seed=1, space=space, surrogates=surrogates)
    assert asked == [(space, name, {})]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"startup": 1}, "startup is 1: give at least 2"),
        ({"pool": 0}, "pool is 0: give at least 2"),
        ({"parents": 0}, "parents is 0: give at least 1"),
        ({"acquisition": "its"}, "sampler 'predictor' acquisition = 'its': input should be 'thompson'"),
        ({"surrogates": 3}, "has no key 'surrogates'"),
    ],
)
def test_a_wrong_table_is_told_in_one_line(table: dict[str, Any], message: str) -> None:
    with pytest.raises(NasplatError, match=message):
        make_sampler("predictor", table, seed=0, space=SPACE, surrogates=lambda *_: Linear(SPACE))


def test_it_is_refused_where_there_are_no_architectures() -> None:
    with pytest.raises(NasplatError, match="a bare Optuna study does not have: name it in a study file"):
        make_sampler("predictor", {}, seed=0, space=None)
    with pytest.raises(NasplatError, match="give it a nasplat Space"):
        PredictorSampler(None, Linear(SPACE))  # type: ignore[arg-type]
    with pytest.raises(NasplatError, match="unknown acquisition 'uvb': did you mean 'ucb'"):
        Hunt(acquisition="uvb")  # type: ignore[arg-type]
