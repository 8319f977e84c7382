"""How far the running statistics that all architectures share are from those of each one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasplat.elastic import extract, recalibrate
from nasplat.space import Arch
from nasplat.supernet.probes.look import Look
from nasplat.supernet.probes.ranks import sampled

Statistics = list[tuple[Tensor, Tensor, float]]  # mean, variance and eps of each norm


@dataclass(frozen=True, slots=True)
class NormDrift:
    """The distance of running statistics to recalibrated ones, for the smallest, the largest and random subnets.

    "mean_shift": |running mean - recalibrated mean| / recalibrated deviation; "log_variance": |log(running variance /
    recalibrated variance)|; each the mean over channels, then norms, then subnets, and 0 where nothing drifts. Large
    ones say that raw statistics cannot be used, and how much norms keyed by the architecture may mend. "norms": how
    many have running statistics. Cost: one recalibration for each subnet. Source: why Once-for-All recalibrates
    (arXiv:1908.09791) and MixPath keeps several (arXiv:2001.05887).
    """

    random: int = 4
    unit: ClassVar[str] = "1"

    def __call__(self, at: Look, before: Mapping[str, Any] | None) -> Mapping[str, Any]:
        space = at.space
        subnets = {
            "smallest": [space.smallest()],
            "largest": [space.largest()],
            "random": sampled(space, self.random, at.seed),
        }
        return {name: self._mean(at, archs) for name, archs in subnets.items()}

    @staticmethod
    def _mean(at: Look, archs: Sequence[Arch]) -> dict[str, float | None]:
        each = [drift(extract(at.net, arch), at.calibration) for arch in archs]
        rows = [row for row in each if row["norms"]]
        if not rows:
            return {"norms": 0, "mean_shift": None, "log_variance": None}
        return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def drift(module: nn.Module, calibration: Sequence[Tensor]) -> dict[str, float]:
    """The distance of a subnet's running statistics to those of `calibration`, which it has afterwards."""
    shared = _statistics(module)
    recalibrate(module, calibration)
    pairs = list(zip(shared, _statistics(module), strict=True))
    if not pairs:
        return {"norms": 0}
    shifts = [((mean - m).abs() / (v + eps).sqrt()).mean() for (mean, _, _), (m, v, eps) in pairs]
    ratios = [((var + eps) / (v + eps)).log().abs().mean() for (_, var, _), (_, v, eps) in pairs]
    return {
        "norms": len(pairs),
        "mean_shift": float(torch.stack(shifts).mean()),
        "log_variance": float(torch.stack(ratios).mean()),
    }


def _statistics(module: nn.Module) -> Statistics:
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    return [(n.get_buffer("running_mean").clone(), n.get_buffer("running_var").clone(), n.eps) for n in norms]
