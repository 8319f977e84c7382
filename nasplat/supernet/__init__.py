"""Training a supernet, or a plain network: one loop, and what methods plug into it.

method = METHODS["sandwich"](epochs=20)
net = space.supernet()
train(net, data, method.schedule(space, data, seed=0), method, Settings(device="cuda"))
"""

from __future__ import annotations

from nasplat.supernet.journal import TrainingReport
from nasplat.supernet.methods import (
    METHODS,
    AlphaNetTraining,
    AttentiveNASTraining,
    BigNASTraining,
    DepSTraining,
    DepthRatioTraining,
    Method,
    OFATraining,
    SandwichTraining,
    ShiftNASTraining,
    UniformTraining,
)
from nasplat.supernet.morphism import SortChannels
from nasplat.supernet.objective import (
    Objective,
    Teacher,
    adaptive_alpha,
    distillation,
    frozen,
    in_place,
    label_loss,
    no_teacher,
    soft_labels,
)
from nasplat.supernet.policy import Fixed, Judge, Policy, Sandwich, Uniform
from nasplat.supernet.recipe import Recipe, Settings
from nasplat.supernet.schedule import Morphism, Phase, Schedule, Stateful, Weight, evenly, learning_rate
from nasplat.supernet.start import load_start
from nasplat.supernet.teacher import Capture, FrozenLargest
from nasplat.supernet.training import train, train_network
from nasplat.supernet.weights import load_weights, save_weights
from nasplat.supernet.world import World, init_world

__all__ = [
    "METHODS",
    "AlphaNetTraining",
    "AttentiveNASTraining",
    "BigNASTraining",
    "Capture",
    "DepSTraining",
    "DepthRatioTraining",
    "Fixed",
    "FrozenLargest",
    "Judge",
    "Method",
    "Morphism",
    "OFATraining",
    "Objective",
    "Phase",
    "Policy",
    "Recipe",
    "Sandwich",
    "SandwichTraining",
    "Schedule",
    "Settings",
    "ShiftNASTraining",
    "SortChannels",
    "Stateful",
    "Teacher",
    "TrainingReport",
    "Uniform",
    "UniformTraining",
    "Weight",
    "World",
    "adaptive_alpha",
    "distillation",
    "evenly",
    "frozen",
    "in_place",
    "init_world",
    "label_loss",
    "learning_rate",
    "load_start",
    "load_weights",
    "no_teacher",
    "save_weights",
    "soft_labels",
    "train",
    "train_network",
]
