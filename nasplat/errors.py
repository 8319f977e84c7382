"""What a user can do wrong, each told in one plain line.

NasplatError            a user's mistake: the command line prints it and exits with 1
  InvalidArchitecture   an architecture that is not in its space
  InvalidStudy          a study file, a study or a question about one that makes no sense
  DataError             a data file that is missing or damaged
  StoreError            a database that cannot be used
  TrainingError         a training that cannot go on
  ExportError           an export that does not reproduce its network
  MissingExtra          an optional package that is not installed
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class NasplatError(Exception):
    """What came, what was expected, what to do: in one line."""


class InvalidArchitecture(NasplatError, ValueError):
    """An architecture that its space does not contain."""


class InvalidStudy(NasplatError):
    """A study file or a study that cannot be used as asked."""


class DataError(NasplatError):
    """Data that is missing, damaged or of the wrong form."""


class StoreError(NasplatError):
    """A database that is not a store, or cannot be written."""


class TrainingError(NasplatError):
    """A training that cannot go on, such as a loss that became NaN."""


class ExportError(NasplatError):
    """An exported file that does not reproduce the network it came from."""


class MissingExtra(NasplatError, ImportError):
    """An optional dependency is needed."""


def expected_one_of(name: object, known: Iterable[object]) -> str:
    """The second half of a message about an unknown name: a guess if one is close, and all that is known.

    >>> expected_one_of("epoch", ["epochs", "seed"])
    "did you mean 'epochs'? known: epochs, seed"
    """
    names = [str(k) for k in known]
    close = get_close_matches(str(name), names, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}known: {', '.join(names) or 'none'}"
