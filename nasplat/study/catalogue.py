"""What a study file can name, with a line on each."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from collections.abc import Callable


def catalogue(kind: str) -> dict[str, str]:
    """Names of a kind, such as "spaces" or "methods", and the first line about each."""
    return CATALOGUES[kind](kind)


def _plug_ins(kind: str) -> dict[str, str]:
    from nasplat.plugins import names

    return {name: _first_line_of_module(f"nasplat.{kind}.{name}") for name in names(kind)}


def _first_line_of_module(module: str) -> str:
    """The first line of a module's docstring, read without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    with open(spec.origin, encoding="utf-8") as file:
        return _first_line(ast.get_docstring(ast.parse(file.read())))


def _samplers(kind: str) -> dict[str, str]:
    from nasplat.search.samplers import SAMPLERS

    return {name: _first_line(inspect.getdoc(sampler)) for name, sampler in SAMPLERS.items()}


def _metrics(kind: str) -> dict[str, str]:
    from nasplat.metric import METRICS, metric_names
    from nasplat.metric.metrics import own_metric
    from nasplat.metric.predicted import predicted_metric
    from nasplat.metric.table import table_metric

    told = {name: _first_line(inspect.getdoc(METRICS[name])) for name in METRICS}
    told["accuracy"] = (
        "The task's metric on the validation split: inherited with a [supernet], else trained alone."
    )
    told["table:NAME/COLUMN"] = _first_line(inspect.getdoc(table_metric))
    told["predicted:NAME"] = _first_line(inspect.getdoc(predicted_metric))
    told["module:function"] = _first_line(inspect.getdoc(own_metric))
    return {name: told.get(name) or _about_score(name) for name in metric_names()}


def _methods(kind: str) -> dict[str, str]:
    from nasplat.supernet import METHODS

    return {name: _first_line(inspect.getdoc(method)) for name, method in METHODS.items()}


def _mixtures(kind: str) -> dict[str, str]:
    from nasplat.supernet.mixtures import MIXTURES

    return {name: _first_line(inspect.getdoc(mixture)) for name, mixture in MIXTURES.items()}


def _probes(kind: str) -> dict[str, str]:
    from nasplat.supernet.probes import PROBES

    return {name: _first_line(inspect.getdoc(probe)) for name, probe in PROBES.items()}


def _about_score(name: str) -> str:
    return _first_line_of_module(f"nasplat.predictors.{name.removeprefix('score:')}")


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n")[0]


CATALOGUES: dict[str, Callable[[str], dict[str, str]]] = {
    "spaces": _plug_ins,
    "predictors": _plug_ins,
    "samplers": _samplers,
    "metrics": _metrics,
    "methods": _methods,
    "mixtures": _mixtures,
    "probes": _probes,
}
