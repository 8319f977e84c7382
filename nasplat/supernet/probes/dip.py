"""What the subnets cost the largest network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from nasplat.supernet.probes.look import Look


@dataclass(frozen=True, slots=True)
class FullNetDip:
    """The loss of the largest network on a fixed validation batch, and how far it ever rose between two looks.

    "loss", "rise" since the last look (None at the first) and "largest_rise" so far. A training that begins to shrink
    abruptly shows a rise there: what delayed epsilon-shrinking avoids. Cost: one recalibration and one pass. Unit:
    that of the task's loss, nats for classification. Source: DepS (arXiv:2407.06167).
    """

    examples: int = 512
    unit: ClassVar[str] = "loss"

    def __call__(self, at: Look, before: Mapping[str, Any] | None) -> Mapping[str, Any]:
        inputs, targets = at.batch(at.data.validation, self.examples)
        with torch.no_grad():
            outputs = at.subnet(at.space.largest())(inputs)
            loss = float(at.data.task.loss(outputs, targets))
        if before is None:
            return {"loss": loss, "rise": None, "largest_rise": 0.0}
        rise = loss - before["loss"]
        return {"loss": loss, "rise": rise, "largest_rise": max(rise, before["largest_rise"])}
