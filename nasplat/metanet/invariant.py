"""Numbers of whole networks from their weights, in any order of their neurons."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nasplat.channels.graph import ParameterGraph
from nasplat.metanet.readout import LayerReadOut, NetworkReadOut, Pooling, network_code
from nasplat.metanet.scale import canonical
from nasplat.metanet.standard import Standard


class Invariant(nn.Module):
    """A backbone between standardised weights and a read-out: m networks of one form -> (m, outputs).

    backbone: gives a GraphState of `width`. scales: take hidden scales and signs out first, see `canonical`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        width: int,
        outputs: int = 1,
        poolings: Sequence[Pooling] = ("mean", "max"),
        scales: bool = False,
    ) -> None:
        super().__init__()
        code = 2 * width
        self.standard, self.backbone, self.scales = Standard(), backbone, scales
        self.layers = LayerReadOut(width, code, poolings)
        self.network = NetworkReadOut(code, outputs)

    def prepared(self, graph: ParameterGraph) -> ParameterGraph:
        """What the backbone reads: the part of `forward` in which nothing is trained."""
        found: ParameterGraph = self.standard(canonical(graph) if self.scales else graph)
        return found

    def codes(self, prepared: ParameterGraph) -> Tensor:
        """Codes of the rows of neurons, (m, rows, code)."""
        found: Tensor = self.layers(self.backbone(prepared), prepared.structure)
        return found

    def judged(self, prepared: ParameterGraph) -> Tensor:
        """`forward` of what is prepared already."""
        found: Tensor = self.network(self.codes(prepared))
        return found

    def forward(self, graph: ParameterGraph) -> Tensor:
        return self.judged(self.prepared(graph))

    def embedded(self, graph: ParameterGraph) -> Tensor:
        """A code of each whole network, (m, 3 * 2 * width): what the last layers judge."""
        return network_code(self.codes(self.prepared(graph)))

    def learn_scales(self, graphs: Sequence[ParameterGraph]) -> None:
        """Measure the training networks: see `Standard`."""
        self.standard.learn(canonical(graph) if self.scales else graph for graph in graphs)


@torch.no_grad()
def in_parts(graph: ParameterGraph, size: int) -> list[ParameterGraph]:
    """A batch of m networks as batches of at most `size`, in order."""
    (m,) = graph.batch
    return [
        ParameterGraph(
            graph.structure, {name: tensor[i : i + size] for name, tensor in graph.tensors.items()}
        )
        for i in range(0, m, size)
    ]
