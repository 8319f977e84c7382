"""Probes: read-only diagnostics of a supernet in training, whose numbers are rows of the store.

probe = make_probe("gradient_conflict:depth")
numbers = look(Look(net, space, data, epoch=3, calibration=batches), probe)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from nasplat.errors import NasplatError, expected_one_of
from nasplat.supernet.probes.conflict import GradientConflict
from nasplat.supernet.probes.dip import FullNetDip
from nasplat.supernet.probes.drift import NormDrift
from nasplat.supernet.probes.load import Load, Tally
from nasplat.supernet.probes.look import Look, Probe, look
from nasplat.supernet.probes.ranks import RankCorrelation, kendall

PROBES: dict[str, Callable[..., Probe]] = {
    "rank_correlation": RankCorrelation,
    "gradient_conflict": GradientConflict,
    "load": Load,
    "full_net_dip": FullNetDip,
    "norm_drift": NormDrift,
}
"""The probes that a study can name; "gradient_conflict:depth" looks at one kind of choice only."""

__all__ = ["PROBES", "Look", "Probe", "Tally", "kendall", "look", "make_probe"]


def make_probe(name: str) -> Probe:
    """The probe of a name in PROBES, with the kind of choice after a colon where it takes one.

    NasplatError for a name that is unknown, and for a kind that the probe does not take.
    """
    plain, colon, kind = name.partition(":")
    if plain not in PROBES:
        raise NasplatError(f"probe {name!r} is unknown; {expected_one_of(plain, PROBES)}")
    if not colon:
        return PROBES[plain]()
    if "kind" not in inspect.signature(PROBES[plain]).parameters:
        raise NasplatError(f"probe {name!r}: {plain} takes no kind of choice; write {plain!r}")
    return PROBES[plain](kind=kind)
