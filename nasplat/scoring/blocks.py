"""The blocks of a classifier, one after the other: the unit of the AZ-NAS scores."""

from __future__ import annotations

from collections import Counter
from itertools import takewhile

import torch
from torch import Tensor, fx, nn

from nasplat.scoring.initialise import initialise, kaiming_normal
from nasplat.scoring.maps import Body, Segment, trace_body
from nasplat.scoring.reasons import NotApplicable


def block_maps(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """The output (n, c, h, w) of each block on random images, with the graph that leads from one to the next.

    model: a private copy in training mode. As in AZ-NAS (arXiv:2403.19232, as coded), its weights become Kaiming
    normal by fan-in, biases zero, norms 1 and 0, and the images that run are standard normal: the given ones,
    (n, c, h, w), give their shape only. NotApplicable with fewer than two blocks, and as trace_body says.
    """
    body = trace_body(model, images)
    ends = blocks(body)
    if len(ends) < 2:
        raise NotApplicable(f"the network has {len(ends)} blocks, and progress needs two")
    network = body.until(list(ends.values()))
    initialise(network, kaiming_normal)
    with torch.enable_grad():  # also where no weight takes gradients
        outputs = network(torch.randn_like(images).requires_grad_())
    return dict(zip(ends, outputs, strict=True))


def blocks(body: Body) -> dict[str, fx.Node]:
    """The last operation of each block, by the block's name, in order.

    A block is an element of a list of modules ("layer1.0", "stages.2.1"): the outermost one that has parts and is not
    itself a list of such elements. It ends with a tensor that carries everything. Beside the lists, each
    convolution on the only path, and each group of branches with weights that meet again, begins a block: stems, plain
    chains, residual blocks that stand alone. Operations without weights (activations, pooling) belong to the block
    before them, and so do norms, except after an element of a list: there they begin the head, which is no block.
    NAS-Bench-201 networks thus have the stem, each cell and each reduction, ResNets the stem and each residual block.
    """
    ends: dict[str, fx.Node] = {}
    seen: Counter[str] = Counter()
    current, element = "", False
    for segment in body.segments[1:]:
        listed = _element(body.network, segment)
        if listed and listed != current:
            current, element = listed, True
        elif not listed and segment.weighted:
            name = _name(segment)
            seen[name] += 1
            current, element = (name if seen[name] == 1 else f"{name}#{seen[name]}"), False
        elif not listed and element and segment.parameters:
            current, element = "", False
        if current:
            ends[current] = segment.nodes[-1]
    return ends


def _element(network: nn.Module, segment: Segment) -> str:
    """The element of a list of modules that the segment belongs to, the last one if several; "" for none."""
    found = [_outermost(network, _path(node)) for node in segment.nodes]
    return next((name for name in reversed(found) if name), "")


def _outermost(network: nn.Module, path: str) -> str:
    """The first prefix of a path that is a numbered module with parts of its own, and no list of such modules."""
    names = path.split(".")
    for length in range(1, len(names) + 1):
        prefix = ".".join(names[:length])
        module = network.get_submodule(prefix)
        if names[length - 1].isdigit() and any(module.children()) and not _is_list(module):
            return prefix
    return ""


def _is_list(module: nn.Module) -> bool:
    """Whether its children are numbered and have parts themselves; a Sequential of plain layers is no list."""
    children = dict(module.named_children())
    return all(name.isdigit() for name in children) and any(
        any(child.children()) for child in children.values()
    )


def _path(node: fx.Node) -> str:
    """The module that runs an operation, as far as the graph knows."""
    if node.op == "call_module":
        return str(node.target)
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack else ""


def _name(segment: Segment) -> str:
    """What the paths of the weights have in common."""
    paths = [_path(node).split(".") for node in segment.nodes if _path(node)]
    common = takewhile(lambda names: len(set(names)) == 1, zip(*paths, strict=False))
    return ".".join(names[0] for names in common) or str(segment.nodes[-1].name)
