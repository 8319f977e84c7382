"""Pruners by plain names, each a function whose keyword arguments are its table in a study file.

A pruner stops a trial whose intermediate values are worse than others' at the same step. Those here judge by the
stored trials alone, so that a resumed study goes on as before; successive halving also leaves an attribute on each
trial (`Mirror.system_attrs`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.pruners import BasePruner

from nasplat.arguments import check_arguments
from nasplat.errors import NasplatError, expected_one_of


def median(*, n_startup_trials: int = 5, n_warmup_steps: int = 0, interval_steps: int = 1) -> BasePruner:
    """Stop what is worse than the median of earlier trials at the same step."""
    return optuna.pruners.MedianPruner(n_startup_trials, n_warmup_steps, interval_steps)


def percentile(
    *, percentile: float, n_startup_trials: int = 5, n_warmup_steps: int = 0, interval_steps: int = 1
) -> BasePruner:
    """Keep the best `percentile` per cent at each step."""
    return optuna.pruners.PercentilePruner(percentile, n_startup_trials, n_warmup_steps, interval_steps)


def successive_halving(
    *,
    min_resource: int,
    reduction_factor: int = 4,
    min_early_stopping_rate: int = 0,
    bootstrap_count: int = 0,
) -> BasePruner:
    """Asynchronous successive halving (arXiv:1810.05934), one of `reduction_factor` trials goes on at each rung."""
    return optuna.pruners.SuccessiveHalvingPruner(
        min_resource, reduction_factor, min_early_stopping_rate, bootstrap_count
    )


def hyperband(
    *, max_resource: int, min_resource: int = 1, reduction_factor: int = 3, bootstrap_count: int = 0
) -> BasePruner:
    """Several successive halvings with different first rungs (arXiv:1603.06560); `max_resource` is the last step."""
    return optuna.pruners.HyperbandPruner(min_resource, max_resource, reduction_factor, bootstrap_count)


def patient(*, patience: int, min_delta: float = 0.0) -> BasePruner:
    """Stop a trial that has not improved by more than `min_delta` for `patience` steps."""
    return optuna.pruners.PatientPruner(None, patience, min_delta)


def threshold(
    *,
    lower: float | None = None,
    upper: float | None = None,
    n_warmup_steps: int = 0,
    interval_steps: int = 1,
) -> BasePruner:
    """Stop what leaves the range from `lower` to `upper`, or is no number."""
    return optuna.pruners.ThresholdPruner(lower, upper, n_warmup_steps, interval_steps)


PRUNERS: dict[str, Callable[..., BasePruner]] = {
    "hyperband": hyperband,
    "median": median,
    "patient": patient,
    "percentile": percentile,
    "successive_halving": successive_halving,
    "threshold": threshold,
}


def pruner_names() -> list[str]:
    """The plain names that `make_pruner` knows, sorted."""
    return sorted(PRUNERS)


def make_pruner(name: str, arguments: Mapping[str, Any]) -> BasePruner:
    """A pruner by its plain name; NasplatError tells an unknown name or a wrong argument in one line."""
    if name not in PRUNERS:
        raise NasplatError(f"unknown pruner {name!r}: {expected_one_of(name, PRUNERS)}")
    checked = check_arguments(PRUNERS[name], arguments, f"pruner {name!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            return PRUNERS[name](**checked)
        except (TypeError, ValueError) as error:
            raise NasplatError(f"pruner {name!r} cannot be made: {' '.join(str(error).split())}") from error
