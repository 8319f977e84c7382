"""What a score is, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

ScoreFunction = Callable[[nn.Module, Tensor, Tensor], tuple[float, Mapping[str, float]]]
"""(model, images (n, ...), labels (n,)) -> value and per-module values.

The model is a private copy in training mode, which the function may change; the random state is seeded for it.
"""

Status = Literal["ok", "not_applicable", "failed"]


@dataclass(frozen=True, slots=True)
class Score:
    """A score and its contract: what it needs, what it costs, where it comes from, which direction is better.

    direction: "maximize" or "minimize". needs: of "data", "labels", "grad". cost: passes, in words.
    paper: title and arXiv id. function: see ScoreFunction; it raises NotApplicable or Undefined with a reason.
    """

    name: str
    direction: str
    needs: frozenset[str]
    cost: str
    paper: str
    function: ScoreFunction


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """The answer of one score for one network.

    value is NaN unless status is "ok"; `reason` then says why. per_module: module name to its part, as the score
    documents it. origin: seed, name of the initialisation, digest of the batch, torch version.
    """

    value: float
    per_module: dict[str, float]
    seconds: float
    status: Status
    reason: str = ""
    origin: dict[str, str | int] = field(default_factory=dict)


class NotApplicable(Exception):
    """The score is not defined for this kind of network."""


class Undefined(Exception):
    """The score is defined for this kind of network, and has no finite value for this one."""
