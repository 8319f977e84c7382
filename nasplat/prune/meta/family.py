"""The family of networks that a metanetwork was trained on: what others are compared with before they are rewritten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from nasplat.channels import ParameterGraph
from nasplat.errors import DataError
from nasplat.metanet.limits import Limits


@dataclass(frozen=True, slots=True)
class Family:
    """Sizes of the data models, and the parts that they are made of, such as "conv 3x3", "sum" or "after: relu".

    Other widths and depths are fine within the reach of the limits; a part that was never seen is not: what the
    metanetwork would say there was never trained.
    """

    limits: Limits
    parts: tuple[str, ...]

    @classmethod
    def of(cls, graphs: Sequence[ParameterGraph], reach: float) -> Self:
        """The smallest family that holds some networks."""
        return cls(Limits.of(graphs, reach), tuple(sorted(set().union(*map(parts_of, graphs)))))

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """What `as_json` gave."""
        return cls(Limits.from_json(entry["limits"]), tuple(entry["parts"]))

    def as_json(self) -> dict[str, Any]:
        """Limits and parts as JSON."""
        return {"limits": self.limits.as_json(), "parts": list(self.parts)}

    def check(self, graph: ParameterGraph, name: str = "the network") -> None:
        """DataError for a network, by that name, with other parts, or of a size beyond reach."""
        if strange := sorted(parts_of(graph) - {*self.parts}):
            raise DataError(
                f"{name} has {', '.join(strange)}, the metanetwork learned from networks of {', '.join(self.parts)}: "
                "prune with a score (l2), or fit a metanetwork on networks like it (nasplat fit metanet)"
            )
        self.limits.check(graph, name)


def parts_of(graph: ParameterGraph) -> set[str]:
    """Kinds of layers with their kernels, of joins, of rows without weights, and activations."""
    form = graph.structure
    blocks = {" ".join([block.kind, "x".join(map(str, block.kernel))]).strip() for block in form.blocks}
    rows = {row.kind for row in form.neurons} - {block.kind for block in form.blocks}
    activations = {f"after: {row.activation}" for row in form.neurons if row.activation}
    norms = {"norm" for vector in form.vectors if vector.column == "variance"}
    return blocks | rows | {join.kind for join in form.joins} | activations | norms
