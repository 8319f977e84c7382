"""The supernets of pooling layouts that the studies compare, by the names in their tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pooling_jobs import Job, Setup, Variant


def balanced(experts: int, **keys: Any) -> Mapping[str, Any]:
    """The table of a balanced mixture."""
    return {"kind": "balanced", "experts": experts, **keys}


SEPARATE = {"kind": "separate"}

PUBLISHED = {
    "M = 1": Variant(),
    "M = 1, batch statistics": Variant(norm="batch_statistics"),
    "M = 2": Variant(balanced(2)),
    "M = 4": Variant(balanced(4)),
    "M = 8": Variant(balanced(8)),
    "M = 4, unbalanced": Variant(balanced(4, balance=False)),
    "M = 4, dealt at random": Variant({"kind": "dealt", "experts": 4}),
}
"""Equal total steps: an expert of M has 1/M of them."""

PER_EXPERT = {
    "M = 1, 1/4 of the steps": Variant(budget=0.25),
    "M = 2, 1/2 of the steps": Variant(balanced(2), budget=0.5),
    "M = 4": PUBLISHED["M = 4"],
    "M = 8, 2 times the steps": Variant(balanced(8), budget=2.0),
}
"""Equal steps per expert: a mixture of M costs M times as much."""

IDEAS = {
    "each alone": Variant(SEPARATE, turns=True, branch=0),
    "branches after 1/4": Variant(SEPARATE, turns=True, branch=0.25),
    "branches after 1/2": Variant(SEPARATE, turns=True, branch=0.5),
    "branches after 3/4": Variant(SEPARATE, turns=True, branch=0.75),
    "M = 1, in turns": Variant(turns=True),
    "M = 4, shared for 1/4": Variant(balanced(4, shared=0.25)),
    "M = 4, shared for 1/2": Variant(balanced(4, shared=0.5)),
    "M = 1, norms by scale": Variant(norm="keyed"),
    "weights by scale": Variant({"kind": "scale"}),
    "weights by scale after 1/2": Variant({"kind": "scale"}, branch=0.5),
    "split by gradient": Variant({"kind": "split", "by": "gradient"}),
    "MoS, neuron-wise": Variant({"kind": "moe", "experts": 4, "per": "neuron"}),
}
"""What might rank better at equal total steps. "each alone" is the control: each layout has its share of the steps."""

VARIANTS = {**PUBLISHED, **PER_EXPERT, **IDEAS}
SCORES = ("MACs", "nwot")
WITHIN_BUDGET = (*PUBLISHED, *IDEAS)


def scoring_jobs(setup: Setup, seeds: int) -> Iterator[Job]:
    """The scores that need no training."""
    yield Job("macs", "MACs", 0, setup)
    yield from (Job("score", "nwot", seed, setup) for seed in range(seeds))


def supernet_jobs(names: Sequence[str], setup: Setup, seeds: int) -> Iterator[Job]:
    """Supernets by name, seed by seed."""
    for seed in range(seeds):
        yield from (Job("supernet", name, seed, setup, VARIANTS[name]) for name in names)


def truth_jobs(layouts: Sequence[str], setup: Setup, seeds: int) -> Iterator[Job]:
    """Every layout trained alone."""
    for seed in range(seeds):
        yield from (Job("alone", "alone", seed, setup, layout=layout) for layout in layouts)
