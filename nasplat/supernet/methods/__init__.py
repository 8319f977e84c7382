"""Training methods by name: each is a recipe, a policy, an objective and phases for the one training loop."""

from __future__ import annotations

from nasplat.supernet.methods.alphanet import AlphaNetTraining
from nasplat.supernet.methods.attentivenas import AttentiveNASTraining
from nasplat.supernet.methods.base import Method, training_loss
from nasplat.supernet.methods.bignas import BigNASTraining
from nasplat.supernet.methods.deps import DepSTraining
from nasplat.supernet.methods.depth_ratio import DepthRatioTraining
from nasplat.supernet.methods.ofa import OFATraining
from nasplat.supernet.methods.sandwich import SandwichTraining
from nasplat.supernet.methods.shiftnas import ShiftNASTraining
from nasplat.supernet.methods.uniform import UniformTraining

METHODS: dict[str, type[Method]] = {
    "uniform": UniformTraining,
    "sandwich": SandwichTraining,
    "bignas": BigNASTraining,
    "alphanet": AlphaNetTraining,
    "deps": DepSTraining,
    "ofa": OFATraining,
    "depth_ratio": DepthRatioTraining,
    "attentivenas": AttentiveNASTraining,
    "shiftnas": ShiftNASTraining,
}
"""The methods that a study can name: METHODS[name](**table) is a recipe, its .schedule(...) the phases."""

__all__ = [
    "METHODS",
    "AlphaNetTraining",
    "AttentiveNASTraining",
    "BigNASTraining",
    "DepSTraining",
    "DepthRatioTraining",
    "Method",
    "OFATraining",
    "SandwichTraining",
    "ShiftNASTraining",
    "UniformTraining",
    "training_loss",
]
