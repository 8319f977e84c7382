"""A data set by name, or by a function of the user."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasplat.data.cifar10 import cifar10
from nasplat.data.dataset import Dataset
from nasplat.data.digits import digits, translated_digits
from nasplat.data.fashion_mnist import fashion_mnist
from nasplat.data.given import dataset_of
from nasplat.data.text import text
from nasplat.errors import DataError, expected_one_of

SOURCES: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    "translated_digits": translated_digits,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "text": text,
}
"""The data sets that can be named; their keyword arguments are the rest of a study's [data] table."""

PLACES = ("folder", "path")  # arguments that name a place on the disk


def load_data(name: str, *, base: Path | None = None, **arguments: Any) -> Dataset:
    """The data set of a name in SOURCES, of "package.module:function" or of "path.py:function".

    Paths are relative to `base`. A function of the user runs as code and returns a Dataset, or the splits
    train, validation and test (a mapping or a triple) as pairs (inputs, targets) of tensors or arrays.
    DataError: an unknown name or argument, a file that is missing or damaged, data of the wrong form.
    """
    if ":" in name:
        from nasplat.plugins import load_object

        function = load_object(name, base)
        return dataset_of(_call(name, function, arguments), name, arguments)
    if name not in SOURCES:
        raise DataError(f"unknown data set {name!r}; {expected_one_of(name, SOURCES)}, or module:function")
    if base is not None:
        places = {key: Path(arguments[key]) for key in PLACES if arguments.get(key) is not None}
        arguments = {**arguments, **{key: base / place.expanduser() for key, place in places.items()}}
    result: Dataset = _call(name, SOURCES[name], arguments)
    return result


def _call(name: str, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    known = inspect.signature(function).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
    for argument in arguments:
        if argument not in known and not takes_any:
            raise DataError(
                f"data set {name!r} has no argument {argument!r}; {expected_one_of(argument, known)}"
            )
    try:
        return function(**arguments)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"data set {name!r} failed: {type(error).__name__}: {error}") from error
