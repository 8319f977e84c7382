"""The metanetwork: a network in, the same network with new numbers out."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from nasplat.channels import ParameterGraph
from nasplat.channels.structure import SIDES
from nasplat.metanet.edge_gated import EdgeGated
from nasplat.metanet.heads import Editor, Sizes
from nasplat.metanet.standard import Standard
from nasplat.metanet.words import block_words
from nasplat.prune.meta.settings import MetaSettings


class Rewriter(nn.Module):
    """w' = w + r dec(e) for weights, biases, scales and shifts (arXiv:2506.12041), gradients flow through.

    Unlike there, numbers are read, and steps r are taken, on the scale that `Standard` has learned from data models:
    one pair of steps then suits layers of any size. Running statistics are read only. With steps of 0 every number
    stays exactly.
    """

    def __init__(self, settings: MetaSettings) -> None:
        super().__init__()
        self.reads_standard = settings.standard
        self.standard = Standard()
        backbone = EdgeGated(settings.width, settings.layers, grid=settings.grid)
        sizes = Sizes(settings.width, settings.grid, settings.node_step, settings.edge_step)
        self.editor = Editor(backbone, sizes)

    def learn(self, graphs: Iterable[ParameterGraph]) -> None:
        """Measure what is usual among data models: see `Standard`."""
        self.standard.learn(graphs)

    def forward(self, graph: ParameterGraph) -> ParameterGraph:
        """One network -> the same with new numbers."""
        standard = self.standard(graph)
        state = self.editor.backbone(standard if self.reads_standard else graph)
        changes = self.editor.heads(state, self._zeros(graph))
        width = self.standard.width.repeat(SIDES)
        kinds = block_words(graph.structure)[0].tolist()
        edges = [
            weights + self.standard.size[kind] * change
            for kind, weights, change in zip(kinds, graph.edges, changes.edges, strict=True)
        ]
        return graph.replace(graph.features + width * changes.features, edges, keep=("mean", "variance"))

    @staticmethod
    def _zeros(graph: ParameterGraph) -> ParameterGraph:
        """A graph of zeros, to which heads add what they say alone."""
        tensors: dict[str, Tensor] = {
            name: tensor.new_zeros(tensor.shape) for name, tensor in graph.tensors.items()
        }
        return ParameterGraph(graph.structure, tensors)
