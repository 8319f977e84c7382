"""From a module to what a picture of it needs: layers in order, and the links that skip some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, fx, nn

from nasplat.draw.blocks import LAYERS, Block, layer_block, node_block
from nasplat.measure.size import evaluating
from nasplat.measure.trace import ShapeRun, join_kind, only_shapes


@dataclass(frozen=True, slots=True)
class Link:
    """A second path from after block `start` (-1: the input) to after block `end`, with its own blocks `aside`.

    how: "sum", "product" or "concatenation".
    """

    how: str
    start: int
    end: int
    aside: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Strip:
    """A network as a line of blocks with links. Shapes are without the batch."""

    blocks: tuple[Block, ...]
    links: tuple[Link, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


def trace(module: nn.Module, example: Tensor) -> Strip:
    """The strip of a module for an example (n, ...); only shapes are computed.

    A module that torch.fx cannot trace gives its layers in the order in which they ran, without links.
    """
    try:
        graph: fx.GraphModule | None = fx.symbolic_trace(module)
    except Exception:  # tracing runs the user's forward on proxies, which may raise anything
        graph = None
    network = module if graph is None else graph
    with evaluating(network), only_shapes():
        return _from_calls(module, example[:1]) if graph is None else _from_graph(graph, example[:1])


def _from_calls(module: nn.Module, example: Tensor) -> Strip:
    blocks: list[Block] = []

    def note(name: str, layer: nn.Module, output: Tensor) -> None:
        block = layer_block(name, layer, tuple(output.shape))
        if block:
            blocks.append(block)

    hooks = [
        layer.register_forward_hook(lambda m, _, output, name=name: note(name, m, output))
        for name, layer in module.named_modules()
        if isinstance(layer, LAYERS)
    ]
    try:
        output = module(example)
    finally:
        for hook in hooks:
            hook.remove()
    shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
    return Strip(tuple(blocks), (), tuple(example.shape[1:]), shape)


def _from_graph(graph: fx.GraphModule, example: Tensor) -> Strip:
    shapes = ShapeRun(graph)
    output = shapes.run(example)
    modules = dict(graph.named_modules())
    blocks: list[Block] = []
    upstream: dict[fx.Node, frozenset[int]] = {}  # the blocks that a node's value went through
    joins: list[tuple[str, list[frozenset[int]]]] = []
    for node in graph.graph.nodes:
        sources = [upstream[n] for n in node.all_input_nodes if n in upstream]
        if node.op == "placeholder":
            upstream[node] = frozenset()
        elif sources and node in shapes.known:
            block = node_block(node, modules, shapes.known)
            own = frozenset({len(blocks)}) if block else frozenset()
            blocks += [block] if block else []
            upstream[node] = own.union(*sources)
            if len(sources) > 1 and (how := join_kind(node)):
                joins.append((how, sources))
    shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
    return _arrange(blocks, joins, tuple(example.shape[1:]), shape)


def _arrange(
    blocks: Sequence[Block],
    joins: Sequence[tuple[str, list[frozenset[int]]]],
    input_shape: tuple[int, ...],
    output_shape: tuple[int, ...],
) -> Strip:
    """The longest path of every join stays in the line; the blocks of the other paths go beside it."""
    raw: list[tuple[str, int, int, list[int]]] = []
    beside: set[int] = set()
    for how, paths in joins:
        main = max(paths, key=lambda p: (len(p - beside), -max(p, default=-1)))
        for path in paths:
            if path == main:
                continue
            aside = sorted(path - main - beside)
            beside.update(aside)
            raw.append((how, max((path & main) - beside, default=-1), max(main - beside, default=-1), aside))
    line = [i for i in range(len(blocks)) if i not in beside]
    place = {i: sum(j <= i for j in line) - 1 for i in range(-1, len(blocks))}
    links = [Link(s, place[a], place[b], tuple(blocks[i] for i in aside)) for s, a, b, aside in raw]
    kept = tuple(dict.fromkeys(link for link in links if link.start < link.end))
    return Strip(tuple(blocks[i] for i in line), kept, input_shape, output_shape)
