"""The flat order of edges: every edge once, blocks of one shape side by side."""

from __future__ import annotations

import pytest
import torch

from nasplat.channels.structure import GraphStructure
from nasplat.metanet.layout import layout_of
from nasplat.metanet.state import GraphState

from . import by_hand

FORMS = {
    "cnn": by_hand.structure(by_hand.CNN),
    "depthwise": by_hand.structure(by_hand.DEPTHWISE, skips=[(0, 2)]),
    "equal blocks": by_hand.structure([("linear", 4, ())] * 4, inputs=4, skips=[(0, 1), (1, 3)]),
}


def numbered(form: GraphStructure) -> GraphState:
    """States (1, ..., 1) of edges, all different, counted through blocks and then joins."""
    shapes = [(1, *block.shape[:3], 1) for block in form.blocks]
    shapes += [(1, len(join.sources), 1) for join in form.joins]
    sizes = [int(torch.Size(shape).numel()) for shape in shapes]
    parts = torch.arange(float(sum(sizes))).split(sizes)
    states = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
    return GraphState(torch.zeros(1, form.nodes, 1), states[: len(form.blocks)], states[len(form.blocks) :])


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_packing_keeps_every_edge_once_and_unpacking_gives_all_back(form: GraphStructure) -> None:
    layout, state = layout_of(form), numbered(form)
    flat = layout.pack(state)
    assert sorted(flat.flatten().tolist()) == list(range(form.edges))
    blocks, joins = layout.unpack(flat, form)
    assert all(map(torch.equal, (*blocks, *joins), (*(state.edges or ()), *(state.joins or ()))))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_edge_index_says_what_each_state_joins(form: GraphStructure) -> None:
    layout, state = layout_of(form), numbered(form)
    ends = {}
    for block, numbers in zip(form.blocks, state.edges or (), strict=True):
        groups, outs, ins, _ = block.shape
        for g in range(groups):
            for o in range(outs):
                for i in range(ins):
                    ends[float(numbers[0, g, o, i, 0])] = (block.sources[g, i], block.targets[g, o])
    for join, numbers in zip(form.joins, state.joins or (), strict=True):
        for n, source, target in zip(numbers.flatten(), join.sources, join.targets, strict=True):
            ends[float(n)] = (source, target)
    pairs = layout.edge_index().T.tolist()
    assert [tuple(pair) for pair in pairs] == [
        tuple(map(int, ends[n])) for n in layout.pack(state).flatten().tolist()
    ]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_degrees_count_the_edges_of_a_node(form: GraphStructure) -> None:
    layout = layout_of(form)
    counted = torch.stack([torch.bincount(side, minlength=form.nodes) for side in layout.edge_index()])
    assert torch.equal(layout.degrees, counted)


def test_blocks_of_one_shape_share_a_stack() -> None:
    layout = layout_of(FORMS["equal blocks"])
    assert sorted(stack.shape for stack in layout.stacks) == [
        (4, 4, 4),
        (8, 1, 1),
    ]  # layers, and two skips of four


def test_channels_of_a_depthwise_layer_are_blocks_of_one_edge_beside_the_joins() -> None:
    assert (8, 1, 1) in [stack.shape for stack in layout_of(FORMS["depthwise"]).stacks]
