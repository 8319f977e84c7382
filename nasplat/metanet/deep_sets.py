"""DeepSets over a network's parameters: each alone, without who is connected to whom. A baseline."""

from __future__ import annotations

from torch import nn

from nasplat.channels.graph import ParameterGraph
from nasplat.metanet.encoders import GraphEncoder
from nasplat.metanet.state import GraphState


class DeepSets(nn.Module):
    """A function of every neuron's numbers and one of every weight's (arXiv:1703.06114).

    They know layer, kind and, where it is fixed, place; the read-out makes a set of them. It is invariant to far more
    than a network is: weights may be shuffled within their layer. Shapes: m networks of one form -> GraphState of
    width H.
    """

    def __init__(self, width: int = 32, layers: int = 3, grid: int = 7) -> None:
        super().__init__()
        self.encoder = GraphEncoder(width, grid)
        self.nodes, self.edges = (_each(width, layers) for _ in range(2))

    def forward(self, graph: ParameterGraph) -> GraphState:
        state = self.encoder(graph)
        return GraphState(
            self.nodes(state.nodes), [self.edges(edges) for edges in state.edges or ()], state.joins
        )


def _each(width: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.SiLU()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(width, width))
