"""macs: how many multiply-adds one image takes."""

from __future__ import annotations

from collections.abc import Mapping

from nasplat.scoring import Evidence, Score


def macs(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """Multiply-adds of one image, as count_macs counts them. A baseline as plain as params; higher is better.

    Per module: those of each convolution and linear layer, over all of its calls; products elsewhere, as in
    attention, count in the value only. Nothing is computed but shapes; of the images only theirs counts.
    """
    found = evidence.macs
    return found[""], {name: count for name, count in found.items() if name}


SCORE: Score = Score(
    name="macs",
    direction="maximize",
    needs=frozenset(),
    cost="one forward pass of shapes",
    paper="Zero-Cost Proxies for Lightweight NAS, arXiv:2101.08134",
    function=macs,
    shares=frozenset({"macs"}),
)
