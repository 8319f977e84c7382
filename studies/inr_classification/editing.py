"""Networks whose images are to be dilated: weights are changed, what they then show is compared with what is wanted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from methods import Question, rendered
from torch import Tensor, nn

from nasplat.channels import ParameterGraph
from nasplat.metanet.backbones import BACKBONES, BackboneName
from nasplat.metanet.fitting import Fitting, train
from nasplat.metanet.groups import Group
from nasplat.metanet.heads import Editor, Sizes

SIDE = 8
WIDTH, LAYERS = 16, 3
FITTING = Fitting(epochs=40, batch=64, rate=5e-3)


def dilated(images: Tensor) -> Tensor:
    """The largest of each pixel and its eight neighbours, (m, pixels) -> (m, pixels)."""
    square = images.reshape(-1, 1, SIDE, SIDE)
    return F.max_pool2d(square, 3, stride=1, padding=1).flatten(1)


class Shift(nn.Module):
    """The same change for every network: one learned number for each weight."""

    def __init__(self, graph: ParameterGraph) -> None:
        super().__init__()
        shapes = graph.structure.shapes
        self.changes = nn.ParameterDict(
            {name.replace(".", "_"): torch.zeros(shape) for name, shape in shapes.items()}
        )

    def forward(self, graph: ParameterGraph) -> ParameterGraph:
        changed = {name: t + self.changes[name.replace(".", "_")] for name, t in graph.tensors.items()}
        return ParameterGraph(graph.structure, changed)


def edited(question: Question, method: str) -> float:
    """Mean squared error of the judged networks' images after editing, against the dilation of those before."""
    torch.manual_seed(question.seed)
    graph = question.shown.graph
    wanted = dilated(rendered(graph, question.frequency, SIDE))
    editor = EDITS[method](graph)

    def missed(some: ParameterGraph, wanted: Tensor) -> Tensor:
        return F.mse_loss(rendered(editor(some), question.frequency, SIDE), wanted)

    if list(editor.parameters()):
        count = len(question.learn)
        own = wanted[torch.from_numpy(question.learn)]
        group = Group(np.arange(count), question.shown.some(question.learn))
        train(editor, [group], lambda some, rows: missed(some, own[rows]), FITTING)
    with torch.no_grad():
        return float(missed(question.shown.some(question.judge), wanted[torch.from_numpy(question.judge)]))


def _editor(graph: ParameterGraph, backbone: BackboneName) -> nn.Module:
    body = BACKBONES[backbone](WIDTH, LAYERS, 1)
    return Editor(body, Sizes(WIDTH, grid=1, node_step=0.1, edge_step=0.1))


EDITS: dict[str, Callable[[ParameterGraph], nn.Module]] = {
    "no edit": lambda graph: nn.Identity(),
    "one change for all": Shift,
    "deep sets": partial(_editor, backbone="deep_sets"),
    "pna": partial(_editor, backbone="pna"),
    "edge gated": partial(_editor, backbone="edge_gated"),
}
"""In the order of the table."""
