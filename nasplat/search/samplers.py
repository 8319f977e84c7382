"""Samplers by plain names, each a function whose keyword arguments are the `[sampler]` table of a study file.

A trial has a sampler of its own, so only those are here that keep their state in stored trials and study
attributes. Not here: CMA-ES (it pickles its state into attributes), grid and brute force (in a mirror `random`
already visits every architecture once), and samplers that wrap others. Anything else is reached by its class,
`package.module:Class` or `path/to/file.py:Class`, and must follow the same rule: `after_trial` is not called.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler

from nasplat.arguments import check_arguments
from nasplat.errors import NasplatError, expected_one_of
from nasplat.plugins import load_object
from nasplat.search.evolution import RegularizedEvolutionSampler
from nasplat.space import Space


def random(seed: int, space: Space | None, /) -> BaseSampler:
    """Each choice takes one of its values, all alike: the control of every other sampler."""
    return optuna.samplers.RandomSampler(seed=seed)


def tpe(
    seed: int,
    space: Space | None,
    /,
    *,
    n_startup_trials: int = 10,
    n_ei_candidates: int = 24,
    multivariate: bool | None = None,
    constant_liar: bool = True,
) -> BaseSampler:
    """Tree-structured Parzen estimator (Optuna's); `multivariate` is on for one objective, else off."""
    return optuna.samplers.TPESampler(
        seed=seed,
        n_startup_trials=n_startup_trials,
        n_ei_candidates=n_ei_candidates,
        multivariate=multivariate,
        constant_liar=constant_liar,
    )


def nsga2(
    seed: int,
    space: Space | None,
    /,
    *,
    population_size: int = 50,
    mutation_prob: float | None = None,
    crossover_prob: float = 0.9,
    swapping_prob: float = 0.5,
) -> BaseSampler:
    """NSGA-II with uniform crossover (Optuna's): an elitist genetic algorithm for several objectives."""
    return optuna.samplers.NSGAIISampler(
        seed=seed,
        population_size=population_size,
        mutation_prob=mutation_prob,
        crossover_prob=crossover_prob,
        swapping_prob=swapping_prob,
    )


def nsga3(
    seed: int,
    space: Space | None,
    /,
    *,
    population_size: int = 50,
    mutation_prob: float | None = None,
    crossover_prob: float = 0.9,
    swapping_prob: float = 0.5,
    dividing_parameter: int = 3,
) -> BaseSampler:
    """NSGA-III (Optuna's): NSGA-II with reference points, for many objectives."""
    return optuna.samplers.NSGAIIISampler(
        seed=seed,
        population_size=population_size,
        mutation_prob=mutation_prob,
        crossover_prob=crossover_prob,
        swapping_prob=swapping_prob,
        dividing_parameter=dividing_parameter,
    )


def gp(
    seed: int, space: Space | None, /, *, n_startup_trials: int = 10, deterministic_objective: bool = False
) -> BaseSampler:
    """Gaussian process with expected (hypervolume) improvement (Optuna's); slow beyond some hundred trials."""
    return optuna.samplers.GPSampler(
        seed=seed,
        n_startup_trials=n_startup_trials,
        deterministic_objective=deterministic_objective,
        warn_independent_sampling=False,
    )


def qmc(seed: int, space: Space | None, /, *, qmc_type: str = "sobol") -> BaseSampler:
    """Quasi-random points that fill the space evenly, "sobol" or "halton" (Optuna's); its place is stored."""
    # Scrambling takes the sampler's seed, and ours differs from trial to trial.
    return optuna.samplers.QMCSampler(
        seed=seed, qmc_type=qmc_type, scramble=False, warn_independent_sampling=False
    )


def regularized_evolution(
    seed: int, space: Space | None, /, *, population_size: int = 50, sample_size: int = 10
) -> BaseSampler:
    """Aging evolution (ours, arXiv:1802.01548)."""
    return RegularizedEvolutionSampler(
        population_size, sample_size, space=space, avoid_repeats=False, seed=seed
    )


SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    "random": random,
    "tpe": tpe,
    "nsga2": nsga2,
    "nsga3": nsga3,
    "gp": gp,
    "qmc": qmc,
    "regularized_evolution": regularized_evolution,
}

SPELLINGS = {"regularised_evolution": "regularized_evolution"}


def sampler_names() -> list[str]:
    """The plain names that `make_sampler` knows, sorted."""
    return sorted(SAMPLERS)


def make_sampler(
    name: str, arguments: Mapping[str, Any], *, seed: int, space: Space | None, base: Path | None = None
) -> BaseSampler:
    """A fresh sampler for one trial, by a plain name or as `module:Class` or `path.py:Class` (relative to `base`).

    A class of one's own is given the `arguments`, and `seed` and `space` where it accepts them. Inside a `Mirror`
    no sampler repeats an architecture; regularised evolution leaves that to the mirror.
    NasplatError tells an unknown name, a wrong argument or an argument's wrong type in one line.
    """
    with warnings.catch_warnings():
        # Asking for it by name is consent; Optuna calls half of its samplers experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if ":" in name:
            return _own_sampler(name, arguments, {"seed": seed, "space": space}, base)
        function = SAMPLERS.get(SPELLINGS.get(name, name))
        if function is None:
            raise NasplatError(f"unknown sampler {name!r}: {expected_one_of(name, SAMPLERS)}")
        checked = check_arguments(function, arguments, f"sampler {name!r}")
        return _made(lambda: function(seed, space, **checked), name)


def _own_sampler(
    name: str, arguments: Mapping[str, Any], offered: Mapping[str, Any], base: Path | None
) -> BaseSampler:
    factory = load_object(name, base)
    if not callable(factory):
        raise NasplatError(f"sampler {name!r} is {factory!r}: name a class or a function")
    parameters = inspect.signature(factory).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in arguments:
        if key in offered or (key not in parameters and not open_ended):
            known = expected_one_of(key, [p for p in parameters if p not in offered])
            raise NasplatError(f"sampler {name!r} has no argument {key!r}; {known}")
    given = {key: value for key, value in offered.items() if key in parameters}
    return _made(lambda: factory(**arguments, **given), name)


def _made(make: Callable[[], Any], name: str) -> BaseSampler:
    try:
        sampler = make()
    except (TypeError, ValueError, ImportError) as error:
        raise NasplatError(f"sampler {name!r} cannot be made: {' '.join(str(error).split())}") from error
    if not isinstance(sampler, BaseSampler):
        raise NasplatError(f"{name!r} makes a {type(sampler).__name__}: an Optuna sampler was expected")
    return sampler
