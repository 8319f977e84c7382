"""A predictor by the name of its plug-in, made with arguments that somebody typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from nasplat.arguments import ArgumentError, check_arguments
from nasplat.errors import NasplatError
from nasplat.plugins import load
from nasplat.prediction.predictor import Predictor


def check_name(role: str, name: str) -> None:
    """NasplatError for a file or an object of a module, as in "mine.py:NAME".

    A trained predictor names its plug-in and its scores in its card, and whoever opens a card that somebody else wrote
    must not run what it says.
    """
    if ":" in name:
        raise NasplatError(
            f"{role} {name!r} is code by its place, which a trained predictor must not name: install a package that "
            "gives it a name among the entry points nasplat.predictors"
        )


def make_predictor(plug_in: str, arguments: Mapping[str, Any]) -> Predictor:
    """A predictor that has learned nothing yet, from a built-in plug-in or one of an installed package.

    NasplatError as for `check_name`, for an unknown name and for a plug-in that is no predictor; ArgumentError for
    arguments that do not fit it.
    """
    check_name("predictor", plug_in)
    factory = load("predictors", plug_in)
    if not callable(factory):
        raise NasplatError(f"{plug_in!r} is a {type(factory).__name__}, not a predictor")
    checked = check_arguments(factory, arguments, f"predictor {plug_in!r}")
    try:
        made = factory(**checked)
    except (TypeError, ValueError, LookupError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ArgumentError(
            f"predictor {plug_in!r} takes no arguments {checked}: {type(error).__name__}: {reason}"
        ) from error
    if not isinstance(made, Predictor):
        raise NasplatError(f"{plug_in!r} makes a {type(made).__name__}, not a predictor")
    return made


@contextmanager
def asked_of(plug_in: str, what: str) -> Iterator[None]:
    """What a plug-in raises when `what` is asked of it, such as "fit", as one line; what is one already passes."""
    try:
        yield
    except (NasplatError, OSError):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise NasplatError(f"predictor {plug_in!r} fails to {what}: {reason}") from error
