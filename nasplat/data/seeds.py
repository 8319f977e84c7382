"""Random numbers that are named: the same numbers for the same seeds, at any time and in any order."""

from __future__ import annotations

import numpy as np
import torch


def derived_seed(*seeds: int) -> int:
    """One seed (64 bits) from several non-negative integers, such as (study seed, epoch)."""
    return int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0])


def generator(*seeds: int) -> torch.Generator:
    """A CPU generator that depends on the seeds only."""
    return torch.Generator().manual_seed(derived_seed(*seeds))
