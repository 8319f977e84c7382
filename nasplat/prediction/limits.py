"""What the numbers that a predictor is made with may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from nasplat.errors import NasplatError

SEEDS = 2**32
"""Seeds of scikit-learn are below it."""


def check_numbers(arguments: Mapping[str, Any]) -> None:
    """NasplatError for the first number among the arguments that is not finite and above 0."""
    for name, value in arguments.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and not 0 < value < math.inf:
            kind = "a whole number of 1 or more" if isinstance(value, int) else "a number above 0"
            raise NasplatError(f"{name} = {value}: expected {kind}")


def small_seed(seed: int) -> int:
    """The seed itself, or for a larger one a number below SEEDS that is drawn from it."""
    return seed if seed < SEEDS else int(np.random.SeedSequence(seed).generate_state(1)[0])
