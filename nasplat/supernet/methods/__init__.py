"""Training methods by name: each is a recipe, a policy, an objective and phases for the one training loop."""

from __future__ import annotations

from nasplat.supernet.methods.base import Method, training_loss
from nasplat.supernet.methods.sandwich import SandwichTraining
from nasplat.supernet.methods.uniform import UniformTraining

METHODS: dict[str, type[Method]] = {"uniform": UniformTraining, "sandwich": SandwichTraining}
"""The methods that a study can name: METHODS[name](**table) is a recipe, its .schedule(...) the phases."""

__all__ = ["METHODS", "Method", "SandwichTraining", "UniformTraining", "training_loss"]
