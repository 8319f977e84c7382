"""The part of a classifier that works on maps (n, c, h, w), as a chain of tensors that carry everything.

The network is traced by torch.fx. A tensor carries everything when each path from the images to the output leads
through it: the output of a residual block does, what is inside of the block does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from operator import is_not
from typing import Any

import torch
from torch import Tensor, fx, nn

from nasplat.measure.trace import ShapeRun
from nasplat.scoring.reasons import NotApplicable, Undefined

Shapes = dict[fx.Node, tuple[int, ...]]
"""Of every tensor in a graph."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The operations from one tensor that carries everything to the next, the last of `nodes`, of this shape."""

    nodes: tuple[fx.Node, ...]
    shape: tuple[int, ...]

    @property
    def pixels(self) -> int:
        """h * w of the last tensor, 0 where it is no map."""
        return math.prod(self.shape[2:]) if len(self.shape) == 4 else 0

    @property
    def parameters(self) -> list[Tensor]:
        """Those that the operations use."""
        return [parameter for node in self.nodes for parameter in _parameters(node)]

    @property
    def weighted(self) -> bool:
        """Whether a matrix or a kernel is among the parameters, as those of norms are not."""
        return any(sum(size > 1 for size in p.shape) > 1 for p in self.parameters)


@dataclass(frozen=True, slots=True)
class Body:
    """A network and its segments from the images, a segment of their own, to the last map."""

    network: fx.GraphModule
    segments: tuple[Segment, ...]

    def until(self, nodes: Sequence[fx.Node]) -> fx.GraphModule:
        """images -> tuple of these tensors, each safe from operations that work in place; nothing later is left.

        The module is the network itself, cut off: call this once.
        """
        graph = self.network.graph
        for node in nodes:
            with graph.inserting_after(node):
                rest = graph.call_method("clone", (node,))
            node.replace_all_uses_with(rest, delete_user_cb=partial(is_not, rest))
        for node in reversed(list(graph.nodes)):
            if node is nodes[-1]:
                break
            graph.erase_node(node)
        graph.output(tuple(nodes))
        self.network.recompile()
        self.network.delete_all_unused_submodules()
        return self.network


def trace_body(model: nn.Module, images: Tensor) -> Body:
    """The body of `model`, a private copy in training mode: up to the operation that gives up the spatial axes.

    That operation comes after the last map of more than one pixel, has no weights, and leaves a vector or a map of one
    pixel, as pooling and flattening do; its input is the last map. A squeeze inside of a block does not count.
    images (n, c, h, w): two of them run, in evaluation mode. NotApplicable where the network does not trace, turns
    its maps into tokens (transformers), has no maps or no weights before it gives them up.
    """
    network = _traced(model)
    segments = _segments(network, _shapes(network, images[:2]))
    body = segments[: _end(segments)]
    if not any(segment.weighted for segment in body):
        raise NotApplicable("the network has no convolution before it gives up the spatial axes")
    return Body(network, tuple(body))


def _traced(model: nn.Module) -> fx.GraphModule:
    if isinstance(model, fx.GraphModule):
        return model
    try:
        return fx.symbolic_trace(model)
    except Exception as error:
        raise NotApplicable(f"the network does not trace: {' '.join(str(error).split())}") from error


def _shapes(network: fx.GraphModule, images: Tensor) -> Shapes:
    network.eval()
    run = ShapeRun(network)
    with torch.no_grad():
        run.run(images.clone())
    network.train()
    return run.known


def _segments(network: fx.GraphModule, shapes: Shapes) -> list[Segment]:
    """The operations between input and output, cut wherever no tensor passes by."""
    live = _live(network, shapes)
    order = {node: place for place, node in enumerate(live)}
    segments, start, reach = [], 0, 0
    for place, node in enumerate(live):
        if reach <= place:
            segments.append(Segment(tuple(live[start : place + 1]), shapes[node]))
            start = place + 1
        reach = max([reach, *(order[user] for user in node.users if user in order)])
    return segments


def _live(network: fx.GraphModule, shapes: Shapes) -> list[fx.Node]:
    """The nodes with tensors on paths from the images to the output, in order; sizes and the like carry nothing."""
    nodes = list(network.graph.nodes)
    images = next(node for node in nodes if node.op == "placeholder")
    (output,) = nodes[-1].args
    if not isinstance(output, fx.Node) or output not in shapes:
        raise NotApplicable("the network does not return one tensor")
    fed, leading = {images}, {output}
    for node in nodes:
        if node in shapes and not fed.isdisjoint(node.all_input_nodes):
            fed.add(node)
    for node in reversed(nodes):
        if node in leading:
            leading.update(source for source in node.all_input_nodes if source in shapes)
    live = [node for node in nodes if node in fed and node in leading]
    if not live:
        raise Undefined("a dead network: its output does not depend on the images")
    return live


def _end(segments: Sequence[Segment]) -> int:
    """The number of segments of the body."""
    spatial = [place for place, segment in enumerate(segments) if segment.pixels > 1]
    places = range(spatial[-1] if spatial else 0, len(segments))
    for last, after in pairwise(places):
        before, then = segments[last], segments[after]
        if not before.pixels:
            break
        if len(then.shape) == 3:
            raise NotApplicable("the network turns its maps into tokens: it has no last map")
        if not then.weighted and (not then.pixels or then.pixels == 1 < before.pixels):
            return after
    raise NotApplicable("the network has no map (n, c, h, w) that pooling or flattening turns into a vector")


def _parameters(node: fx.Node) -> list[Tensor]:
    """Those of a layer, and those that a function gets."""
    module = node.graph.owning_module
    if module is None:
        raise ValueError("the graph has no module")
    if node.op == "call_module":
        return list(module.get_submodule(str(node.target)).parameters())
    read = (source for source in node.all_input_nodes if source.op == "get_attr")
    return [p for p in (_attribute(module, str(source.target)) for source in read) if isinstance(p, Tensor)]


def _attribute(module: nn.Module, name: str) -> Any:
    path, _, last = name.rpartition(".")
    return getattr(module.get_submodule(path), last)
