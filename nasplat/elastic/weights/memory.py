"""Whether weights that are about to be made fit into the memory of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from nasplat.errors import NasplatError

TRAINED = 3
"""Numbers kept for each weight in training: itself, its gradient, and momentum; AdamW keeps a fourth.

Weights are made before anybody says how they will be trained, so what is checked is the least that any training needs.
"""
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container or a batch job: bytes, or "max"


def machine_memory() -> int | None:
    """Bytes of this machine's memory, or of what a container may take of it; None where the system does not say."""
    return min((size for size in (_physical_memory(), _cgroup_limit()) if size is not None), default=None)


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _cgroup_limit() -> int | None:
    try:
        return int(CGROUP_LIMIT.read_text("ascii"))
    except (ValueError, OSError):  # "max", no file, or no such system
        return None


def check_memory(needed: int, what: str) -> None:
    """NasplatError where so many bytes are more than this machine has. what: whose they are, as in "8 experts"."""
    there = machine_memory()
    if there is not None and needed > there:
        raise NasplatError(
            f"{what} need at least {_gib(needed)} of memory for weights, gradients and momentum, and this machine has "
            f"{_gib(there)}: take fewer, a smaller network, or a larger machine"
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:,.3g} GiB"
