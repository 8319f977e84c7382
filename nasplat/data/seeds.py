"""Random numbers that are named: the same numbers for the same seeds, at any time and in any order."""

from __future__ import annotations

import numpy as np
import torch


def generator(*seeds: int) -> torch.Generator:
    """A CPU generator that depends on non-negative integers only, such as (study seed, epoch)."""
    state = np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))
