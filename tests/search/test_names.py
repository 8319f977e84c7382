from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

from nasplat.errors import NasplatError
from nasplat.prediction.surrogate import make_surrogate
from nasplat.search import RegularizedEvolutionSampler, make_pruner, make_sampler, pruner_names, sampler_names
from nasplat.space import Space, ordinal

SPACE = Space("s", [ordinal("a", (1, 2, 3))])

OWN = """
import optuna
class Mine(optuna.samplers.RandomSampler):
    def __init__(self, power: int = 2, *, seed=None, space=None):
        super().__init__(seed)
        self.power, self.space = power, space
def broken(seed):
    raise ValueError("not\\ntoday")
def wrong():
    return 3
"""


@pytest.mark.parametrize("name", sampler_names())
def test_every_named_sampler_proposes_in_plain_optuna(name: str) -> None:
    sampler = make_sampler(name, {}, seed=1, space=SPACE, surrogates=make_surrogate)
    study = optuna.create_study(sampler=sampler)
    SPACE.validate(SPACE.suggest(study.ask()))


def test_arguments_reach_the_sampler_and_both_spellings_are_one() -> None:
    for name in ("regularized_evolution", "regularised_evolution"):
        sampler = make_sampler(name, {"population_size": 7}, seed=1, space=SPACE)
        assert isinstance(sampler, RegularizedEvolutionSampler)
        assert (sampler.population_size, sampler.sample_size, sampler.space) == (7, 10, SPACE)
        assert not sampler.avoid_repeats
    nsga2 = make_sampler("nsga2", {"population_size": 9}, seed=1, space=None)
    assert isinstance(nsga2, optuna.samplers.NSGAIISampler)
    assert nsga2.population_size == 9


def test_equal_seeds_give_equal_samplers() -> None:
    def first(seed: int) -> list[int]:
        study = optuna.create_study(sampler=make_sampler("random", {}, seed=seed, space=None))
        return [study.ask().suggest_int("x", 0, 999) for _ in range(3)]

    assert first(1) == first(1) != first(2)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("nsga", {}, "unknown sampler 'nsga': did you mean 'nsga3'"),
        ("cmaes", {}, "unknown sampler 'cmaes': .*known: random, tpe"),
        ("nsga2", {"popsize": 3}, "has no key 'popsize'; .*known: population_size, mutation_prob"),
        ("random", {"seed": 3}, "has no key 'seed'"),
        (
            "nsga2",
            {"population_size": "3"},
            "sampler 'nsga2' population_size = '3': input should be a valid integer",
        ),
        (
            "nsga2",
            {"population_size": 1},
            "sampler 'nsga2' cannot be made: `population_size` must be greater",
        ),
        ("regularized_evolution", {"sample_size": 0}, "sample_size is 0: give at least 1"),
        ("qmc", {"qmc_type": "other"}, "sampler 'qmc' cannot be made: .*other"),
    ],
)
def test_a_wrong_sampler_is_told_in_one_line(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NasplatError, match=message) as caught:
        make_sampler(name, arguments, seed=0, space=SPACE)
    assert "\n" not in str(caught.value)


def test_a_sampler_of_ones_own_is_given_seed_and_space(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    sampler: Any = make_sampler("mine.py:Mine", {"power": 3}, seed=4, space=SPACE, base=tmp_path)
    assert (type(sampler).__name__, sampler.power, sampler.space) == ("Mine", 3, SPACE)
    theirs = make_sampler("optuna.samplers:TPESampler", {"n_startup_trials": 3}, seed=4, space=SPACE)
    assert isinstance(theirs, optuna.samplers.TPESampler)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("mine.py:Mine", {"pwer": 3}, "has no argument 'pwer'; did you mean 'power'. known: power$"),
        ("mine.py:Mine", {"seed": 3}, "has no argument 'seed'"),
        ("mine.py:broken", {}, "'mine.py:broken' cannot be made: not today"),
        ("mine.py:wrong", {}, "'mine.py:wrong' makes a int: an Optuna sampler was expected"),
        ("mine.py:__name__", {}, "name a class or a function"),
        ("mine.py:Other", {}, "mine.py has no 'Other'"),
    ],
)
def test_a_wrong_sampler_of_ones_own_is_told_in_one_line(
    tmp_path: Path, name: str, arguments: dict[str, Any], message: str
) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    with pytest.raises(NasplatError, match=message):
        make_sampler(name, arguments, seed=0, space=SPACE, base=tmp_path)


@pytest.mark.parametrize("name", pruner_names())
def test_every_named_pruner_can_be_made(name: str) -> None:
    needed = {
        "hyperband": {"max_resource": 9},
        "patient": {"patience": 3},
        "percentile": {"percentile": 25},
        "successive_halving": {"min_resource": 1},
        "threshold": {"upper": 3.0},
    }
    assert isinstance(make_pruner(name, needed.get(name, {})), optuna.pruners.BasePruner)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("medium", {}, "unknown pruner 'medium': did you mean 'median'"),
        ("median", {"steps": 1}, "pruner 'median' has no key 'steps'"),
        ("patient", {}, "pruner 'patient' needs 'patience'"),
        ("median", {"n_startup_trials": -1}, "pruner 'median' cannot be made: .*cannot be negative"),
    ],
)
def test_a_wrong_pruner_is_told_in_one_line(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NasplatError, match=message):
        make_pruner(name, arguments)


def test_search_and_space_do_not_import_torch() -> None:
    code = "import sys, nasplat.search, nasplat.space, nasplat.plugins; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
