"""Whether weights that are about to be made fit into the memory of this machine."""

from __future__ import annotations

import os

from nasplat.errors import NasplatError

TRAINED = 3  # numbers kept for each weight in training: itself, its gradient, and the optimiser's momentum


def machine_memory() -> int | None:
    """Bytes of this machine's memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def check_memory(needed: int, what: str) -> None:
    """NasplatError where so many bytes are more than this machine has. what: whose they are, as in "8 experts"."""
    there = machine_memory()
    if there is not None and needed > there:
        raise NasplatError(
            f"{what} need {_gib(needed)} of memory for weights, gradients and momentum, and this machine has "
            f"{_gib(there)}: take fewer, a smaller network, or a larger machine"
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:,.3g} GiB"
