"""Search: samplers and pruners by name, and the mirror in which samplers see a study.

Every strategy is an Optuna sampler. Ours, regularised evolution and search by a predictor, run in any Optuna study;
Optuna's run in a `Mirror`, which gives each trial a sampler of its own, seeded by (study seed, trial number), and never
proposes an architecture twice.
"""

from __future__ import annotations

from nasplat.search.evolution import RegularizedEvolutionSampler
from nasplat.search.mirror import Mirror, Proposal, SpaceExhausted
from nasplat.search.predictor import Hunt, PredictorSampler, Surrogate
from nasplat.search.pruners import make_pruner, pruner_names
from nasplat.search.samplers import make_sampler, sampler_names
from nasplat.search.trials import freeze, trial_seed

__all__ = [
    "Hunt",
    "Mirror",
    "PredictorSampler",
    "Proposal",
    "RegularizedEvolutionSampler",
    "SpaceExhausted",
    "Surrogate",
    "freeze",
    "make_pruner",
    "make_sampler",
    "pruner_names",
    "sampler_names",
    "trial_seed",
]
