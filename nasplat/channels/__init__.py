"""A network as channels and as a graph of its parameters.

`channel_spec(module, example)` says which axes of which tensors belong to which channels; `parameter_graph(module,
example)` is the graph of its neurons and weights. Both come from one trace.
"""

from __future__ import annotations

from nasplat.channels.graph import ParameterGraph
from nasplat.channels.permutation import (
    node_permutation,
    permute_edges,
    permute_graph,
    permute_state,
    random_permutation,
)
from nasplat.channels.spec import ChannelSpace, ChannelSpec, Frozen, Slot
from nasplat.channels.stacking import stack_graphs, unstack_graphs
from nasplat.channels.structure import Block, GraphStructure, Join, Neurons, Vector
from nasplat.channels.tracing import channel_spec, parameter_graph
from nasplat.channels.writing import named_tensors

__all__ = [
    "Block",
    "ChannelSpace",
    "ChannelSpec",
    "Frozen",
    "GraphStructure",
    "Join",
    "Neurons",
    "ParameterGraph",
    "Slot",
    "Vector",
    "channel_spec",
    "named_tensors",
    "node_permutation",
    "parameter_graph",
    "permute_edges",
    "permute_graph",
    "permute_state",
    "random_permutation",
    "stack_graphs",
    "unstack_graphs",
]
