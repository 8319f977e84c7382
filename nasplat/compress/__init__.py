"""Smaller and cheaper forms of a trained network, most of them without data.

folded = fold_norms(module, example).module
int8 = quantise(equalise(folded, example).module, example, batches)
"""

from __future__ import annotations

from nasplat.compress.bias import INT8, Rounding, correct_bias, input_means, round_weights
from nasplat.compress.branches import fuse_branches
from nasplat.compress.dlrt import DlrtStep, DynamicalLowRank, low_rank_network
from nasplat.compress.equalisation import Equalisation, Equalised, equalise
from nasplat.compress.low_rank import factorise
from nasplat.compress.norms import fold_norms
from nasplat.compress.passthrough import LowRankPassthrough
from nasplat.compress.quantisation import quantise
from nasplat.compress.reconstruction import Reconstruction, reconstruct
from nasplat.compress.stored import load_quantised, save_quantised
from nasplat.compress.tracing import Rewritten

__all__ = [
    "INT8",
    "DlrtStep",
    "DynamicalLowRank",
    "Equalisation",
    "Equalised",
    "LowRankPassthrough",
    "Reconstruction",
    "Rewritten",
    "Rounding",
    "correct_bias",
    "equalise",
    "factorise",
    "fold_norms",
    "fuse_branches",
    "input_means",
    "load_quantised",
    "low_rank_network",
    "quantise",
    "reconstruct",
    "round_weights",
    "save_quantised",
]
