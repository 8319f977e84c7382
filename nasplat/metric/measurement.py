"""The two words of this room: a metric, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasplat.metric.candidate import Candidate


class Cost(IntEnum):
    """What a metric takes; a trial asks its metrics from cheap to expensive and stops at a broken bound."""

    LOOKUP = -1  # nothing: a row of a table
    COUNT = 0  # milliseconds: sizes
    SCORE = 1  # a pass or two over one batch
    CLOCK = 2  # about a second on the device
    INHERITED = 3  # recalibration and the validation set
    TRAINED = 4  # a training
    UNKNOWN = 5  # a function of the user's


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number of one architecture.

    `value` is None where there is none; `status` and `reason` then say why. `spread` is the inter-quartile range in
    the metric's unit and `n` the number of repeats, for what is measured repeatedly; `noisy` flags a spread that is
    too wide to trust. `per_module` splits a score by module.
    """

    value: float | None
    seconds: float = 0.0
    spread: float | None = None
    n: int | None = None
    noisy: bool = False
    status: str = "ok"
    reason: str = ""
    per_module: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """A named, directed number and how to get it.

    `origin` is all that the value depends on beside the architecture: protocol, device, data, seed, weights and
    versions. Equal origins give equal values, up to the noise of a clock, so nothing is measured twice.
    """

    name: str
    unit: str
    direction: str | None  # None: the study file has to say
    cost: Cost
    origin: Mapping[str, Any]
    measure: Callable[[Candidate], Measurement]
