"""What a score is, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from nasplat.scoring.evidence import Evidence

ScoreFunction = Callable[[Evidence], tuple[float, Mapping[str, float]]]
"""Evidence of one network and one batch -> value and per-module values. The random state is seeded for the call."""

Status = Literal["ok", "not_applicable", "failed"]

NEEDS = frozenset({"data", "labels", "grad", "double_backward"})
"""What a score may need."""


BATCH = 64
"""Inputs that scores see unless told otherwise, so that all who ask find the same numbers."""


@dataclass(frozen=True, slots=True)
class Score:
    """A score and its contract: what it needs, what it costs, where it comes from, which direction is better.

    direction: "maximize" or "minimize". needs: of NEEDS. cost: passes, in words. paper: title and arXiv id.
    function: see ScoreFunction; it raises NotApplicable or Undefined with a reason. shares: the shared passes that the
    function reads from its evidence (names of nasplat.scoring.PASSES), which is how the engine knows what to run.
    """

    name: str
    direction: str
    needs: frozenset[str]
    cost: str
    paper: str
    function: ScoreFunction
    shares: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """The answer of one score for one network.

    value is NaN unless status is "ok"; `reason` then says why. per_module: module name to its part, as the score
    documents it. seconds: of its own work, and its part of the passes shared with other scores of the same call.
    origin: seed, name of the initialisation, digest of the batch, torch version.
    """

    value: float
    per_module: dict[str, float]
    seconds: float
    status: Status
    reason: str = ""
    origin: dict[str, str | int] = field(default_factory=dict)
