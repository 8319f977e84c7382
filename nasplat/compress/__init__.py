"""Smaller and cheaper forms of a trained network, most of them without data.

folded = fold_norms(module, example).module
"""

from __future__ import annotations

from nasplat.compress.branches import fuse_branches
from nasplat.compress.norms import fold_norms
from nasplat.compress.tracing import Rewritten

__all__ = ["Rewritten", "fold_norms", "fuse_branches"]
