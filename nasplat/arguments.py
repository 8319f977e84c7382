"""Tables that a person typed, checked against the function they are meant for.

A table such as `[space]` becomes the keyword arguments of a function. Its signature says which keys exist,
what their types are and which may be left out, so that a plug-in needs no schema beside its own code.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pydantic import TypeAdapter, ValidationError

from nasplat.errors import NasplatError, expected_one_of


class ArgumentError(NasplatError):
    """A table that does not fit its function."""


def check_arguments(function: Callable[..., Any], table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The table as keyword arguments of the function.

    Values are checked strictly (`"3"` is no number, `3` is a float) by the annotations of the signature.
    Raises ArgumentError in one line: an unknown key, a missing one, or a wrong type. `where` opens that line.
    """
    parameters = _parameters(function)
    for key in table:
        if key not in parameters:
            raise ArgumentError(f"{where} has no key {key!r}; {expected_one_of(key, parameters)}")
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in table:
            raise ArgumentError(f"{where} needs {key!r} ({_spelled(parameter.annotation)}); add it")
    return {key: _checked(function, parameters[key], value, where) for key, value in table.items()}


def accepts(function: Callable[..., Any], name: str) -> bool:
    """Whether the function can be called with this keyword."""
    return name in _parameters(function)


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {k: p for k, p in inspect.signature(function).parameters.items() if p.kind in named}


def _checked(function: Callable[..., Any], parameter: inspect.Parameter, value: Any, where: str) -> Any:
    try:
        expected = _annotation(function, parameter)
        return TypeAdapter(expected).validate_json(json.dumps(value), strict=True)
    except TypeError:  # TOML has dates and times, JSON has none
        raise ArgumentError(
            f"{where} {parameter.name} = {value}: expected a number, a text, true or false, or a list of these"
        ) from None
    except ValidationError as error:
        raise ArgumentError(f"{where} {parameter.name}{_explained(error)}") from None


def _explained(error: ValidationError) -> str:
    """Where inside a value the first mistake is, what stands there, and what was expected."""
    found = error.errors()[0]
    kind, given = found["type"], found["input"]
    place = [part for part in found["loc"] if isinstance(part, int)]  # others name types of pydantic
    if kind in ("missing", "too_long") and isinstance(given, list):  # a tuple of another length
        missing = [other for other in error.errors() if other["type"] == "missing"]
        expected = len(given) + len(missing) if missing else found["ctx"]["max_length"]
        place, message = [], f"give {expected} values, not {len(given)}"
    elif kind in ("list_type", "tuple_type"):
        message = "give a list"
    else:
        message = found["msg"][0].lower() + found["msg"][1:]
    return "".join(f"[{part}]" for part in place) + f" = {given!r}: {message}"


def _annotation(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """The parameter's type, evaluated by itself: others may name types that exist for type checkers only."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        annotation = eval(annotation, _names_of(function))
    return Any if annotation is parameter.empty else annotation


def _names_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The global names where a function, or the `__init__` of a class, was written."""
    while isinstance(function, partial):
        function = function.func
    if isinstance(function, type):
        function = next(one for one in function.__mro__ if "__init__" in vars(one))
    return dict(vars(sys.modules[function.__module__]))


def _spelled(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    return (
        "any value"
        if annotation is inspect.Parameter.empty
        else getattr(annotation, "__name__", str(annotation))
    )
