"""Which networks a metanetwork may be asked about: those like the ones it has learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from nasplat.channels.graph import ParameterGraph
from nasplat.errors import DataError


@dataclass(frozen=True, slots=True)
class Limits:
    """Smallest and largest number of neurons, edges and rows among the training networks.

    check refuses what lies beyond them by more than a factor of `reach`. Kinds of layers that were never seen are no
    reason to refuse: encoders share one word for all of them.
    """

    neurons: tuple[int, int]
    edges: tuple[int, int]
    rows: tuple[int, int]
    reach: float = 4.0

    @classmethod
    def of(cls, graphs: Sequence[ParameterGraph], reach: float) -> Self:
        sizes = [_sizes(graph) for graph in graphs]
        neurons, edges, rows = (
            (min(s[name] for s in sizes), max(s[name] for s in sizes)) for name in sizes[0]
        )
        return cls(neurons, edges, rows, reach)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        neurons, edges, rows = (tuple(entry[name]) for name in ("neurons", "edges", "rows"))
        return cls(neurons, edges, rows, entry["reach"])

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def check(self, graph: ParameterGraph, name: str) -> None:
        """DataError for a network, by that name, that is too large or too small."""
        for what, size in _sizes(graph).items():
            low, high = getattr(self, what)
            if not low / self.reach <= size <= high * self.reach:
                raise DataError(
                    f"{name} has {size} {what}, the networks that were learned from have {low} to {high}: fit on "
                    f"networks of that size, or with a reach above {self.reach:g}"
                )


def _sizes(graph: ParameterGraph) -> dict[str, int]:
    form = graph.structure
    return {"neurons": form.nodes, "edges": form.edges, "rows": len(form.neurons)}
