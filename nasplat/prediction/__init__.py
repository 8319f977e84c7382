"""Predictors: what learns from measured architectures and judges others, with mean and standard deviation."""

from __future__ import annotations

from nasplat.prediction.aggregates import AGGREGATES, aggregate
from nasplat.prediction.card import Card, load_predictor, save_predictor
from nasplat.prediction.predictor import Prediction, Predictor, PredictorFactory
from nasplat.prediction.sample import Sample, describe, graphs_for, traced

__all__ = [
    "AGGREGATES",
    "Card",
    "Prediction",
    "Predictor",
    "PredictorFactory",
    "Sample",
    "aggregate",
    "describe",
    "graphs_for",
    "load_predictor",
    "save_predictor",
    "traced",
]
