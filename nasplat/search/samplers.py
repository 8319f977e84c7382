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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import optuna
from optuna.samplers import BaseSampler

from nasplat.arguments import check_arguments
from nasplat.errors import NasplatError, expected_one_of
from nasplat.plugins import load_object
from nasplat.search.acquisition import AcquisitionName
from nasplat.search.evolution import RegularizedEvolutionSampler
from nasplat.search.predictor import Hunt, PredictorSampler, Surrogate
from nasplat.space import Space

Surrogates: TypeAlias = Callable[[Space, str, Mapping[str, Any]], Surrogate]
"""A space, the name of a predictor and its arguments -> a surrogate; NasplatError where they do not fit."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sampler is made: for a trial of this seed, in a study of this space, if it is one of ours."""

    seed: int
    space: Space | None = None
    surrogates: Surrogates | None = None


def random(place: Place, /) -> BaseSampler:
    """Each choice takes one of its values, all alike: the control of every other sampler."""
    return optuna.samplers.RandomSampler(seed=place.seed)


def tpe(
    place: Place,
    /,
    *,
    n_startup_trials: int = 10,
    n_ei_candidates: int = 24,
    multivariate: bool | None = None,
    constant_liar: bool = True,
) -> BaseSampler:
    """Tree-structured Parzen estimator (Optuna's); `multivariate` is on for one objective, else off."""
    return optuna.samplers.TPESampler(
        seed=place.seed,
        n_startup_trials=n_startup_trials,
        n_ei_candidates=n_ei_candidates,
        multivariate=multivariate,
        constant_liar=constant_liar,
    )


def nsga2(
    place: Place,
    /,
    *,
    population_size: int = 50,
    mutation_prob: float | None = None,
    crossover_prob: float = 0.9,
    swapping_prob: float = 0.5,
) -> BaseSampler:
    """NSGA-II with uniform crossover (Optuna's): an elitist genetic algorithm for several objectives."""
    return optuna.samplers.NSGAIISampler(
        seed=place.seed,
        population_size=population_size,
        mutation_prob=mutation_prob,
        crossover_prob=crossover_prob,
        swapping_prob=swapping_prob,
    )


def nsga3(
    place: Place,
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
        seed=place.seed,
        population_size=population_size,
        mutation_prob=mutation_prob,
        crossover_prob=crossover_prob,
        swapping_prob=swapping_prob,
        dividing_parameter=dividing_parameter,
    )


def gp(place: Place, /, *, n_startup_trials: int = 10, deterministic_objective: bool = False) -> BaseSampler:
    """Gaussian process with expected (hypervolume) improvement (Optuna's); slow beyond some hundred trials."""
    return optuna.samplers.GPSampler(
        seed=place.seed,
        n_startup_trials=n_startup_trials,
        deterministic_objective=deterministic_objective,
        warn_independent_sampling=False,
    )


def qmc(place: Place, /, *, qmc_type: str = "sobol") -> BaseSampler:
    """Quasi-random points that fill the space evenly, "sobol" or "halton" (Optuna's); its place is stored."""
    # Scrambling takes the sampler's seed, and ours differs from trial to trial.
    return optuna.samplers.QMCSampler(
        seed=place.seed, qmc_type=qmc_type, scramble=False, warn_independent_sampling=False
    )


def regularized_evolution(
    place: Place, /, *, population_size: int = 50, sample_size: int = 10
) -> BaseSampler:
    """Aging evolution (ours, arXiv:1802.01548)."""
    return RegularizedEvolutionSampler(
        population_size, sample_size, space=place.space, avoid_repeats=False, seed=place.seed
    )


def predictor(
    place: Place,
    /,
    *,
    predictor: str | None = None,
    arguments: dict[str, Any] | None = None,
    startup: int = 10,
    acquisition: AcquisitionName = "ei",
    pool: int = 200,
    parents: int = 10,
) -> BaseSampler:
    """What a predictor, fitted on the finished trials, holds most worth trying (ours, as arXiv:1910.11858)."""
    if place.space is None or place.surrogates is None:
        raise NasplatError(
            "sampler 'predictor' learns from architectures, which a bare Optuna study does not have: name it in a "
            "study file, or make PredictorSampler(space, surrogate) yourself"
        )
    # Where a space gives graphs, their routes are columns for which a linear model is enough; encodings are not.
    name = predictor or ("ridge" if place.space.notation.graph is not None else "blend")
    surrogate = place.surrogates(place.space, name, arguments or {})
    hunt = Hunt(startup, acquisition, pool, parents)
    return PredictorSampler(place.space, surrogate, hunt, seed=place.seed)


SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    "random": random,
    "tpe": tpe,
    "nsga2": nsga2,
    "nsga3": nsga3,
    "gp": gp,
    "qmc": qmc,
    "regularized_evolution": regularized_evolution,
    "predictor": predictor,
}

SPELLINGS = {"regularised_evolution": "regularized_evolution"}


def sampler_names() -> list[str]:
    """The plain names that `make_sampler` knows, sorted."""
    return sorted(SAMPLERS)


def make_sampler(
    name: str,
    arguments: Mapping[str, Any],
    *,
    seed: int,
    space: Space | None,
    base: Path | None = None,
    surrogates: Surrogates | None = None,
) -> BaseSampler:
    """A fresh sampler for one trial, by a plain name or as `module:Class` or `path.py:Class` (relative to `base`).

    A class of one's own is given the `arguments`, and `seed` and `space` where it accepts them. Inside a `Mirror`
    no sampler repeats an architecture; regularised evolution leaves that to the mirror. `surrogates` makes what the
    sampler `predictor` learns with: this room knows no predictor.
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
        return _made(lambda: function(Place(seed, space, surrogates), **checked), name)


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
