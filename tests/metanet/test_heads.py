"""Equivariant heads write networks; an editor learns to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nasplat.channels.graph import ParameterGraph
from nasplat.metanet.backbones import BACKBONES, BackboneName
from nasplat.metanet.fitting import Fitting
from nasplat.metanet.groups import grouped
from nasplat.metanet.heads import Editor, Sizes, fit_editor

from .by_hand import CNN, MLP, filled, permuted, structure


def made(name: BackboneName = "pna", **steps: float) -> Editor:
    torch.manual_seed(0)
    return Editor(BACKBONES[name](8, 1, 7), replace(Sizes(8), **steps)).eval()


@pytest.mark.parametrize("name", BACKBONES)
def test_permuted_networks_are_edited_to_permuted_networks(name: BackboneName) -> None:
    editor, plain = (
        made(name, node_step=1.0, edge_step=1.0),
        filled(structure(CNN, norms=True), 0, (2,), torch.float32),
    )
    edited = editor(plain)
    assert all(
        (edited.tensors[n] - plain.tensors[n]).abs().max() > 0.01
        for n in ("l1.weight", "l2.bias", "l0.n.bias")
    )
    expected, _ = permuted(edited, seed=4)
    found = editor(permuted(plain, seed=4)[0])
    for tensor in expected.tensors:
        torch.testing.assert_close(found.tensors[tensor], expected.tensors[tensor], atol=1e-4, rtol=1e-4)


def test_the_steps_say_how_far_weights_and_neurons_go() -> None:
    plain = filled(structure(CNN, norms=True), 0, (), torch.float32)
    still, near, far = (
        made(node_step=0.0, edge_step=0.0)(plain),
        made()(plain),
        made(node_step=0.02, edge_step=0.02)(plain),
    )
    for name, tensor in plain.tensors.items():
        torch.testing.assert_close(still.tensors[name], tensor)
        torch.testing.assert_close(
            far.tensors[name] - tensor, 2 * (near.tensors[name] - tensor), atol=1e-5, rtol=1e-3
        )


def test_running_statistics_are_read_and_not_written() -> None:
    plain = filled(structure(CNN, norms=True), 0, (), torch.float32)
    found = made(node_step=1.0)(plain)
    assert torch.equal(found.tensors["l0.n.mean"], plain.tensors["l0.n.mean"])
    assert torch.equal(found.tensors["l0.n.var"], plain.tensors["l0.n.var"])


def test_one_network_keeps_its_shapes_and_equals_its_place_in_a_batch() -> None:
    many, editor = filled(structure(CNN), 0, (3,), torch.float32), made()
    alone = editor(ParameterGraph(many.structure, {name: tensor[1] for name, tensor in many.tensors.items()}))
    together = editor(many)
    for name, shape in many.structure.shapes.items():
        assert alone.tensors[name].shape == shape
        torch.testing.assert_close(alone.tensors[name], together.tensors[name][1])


def test_an_editor_learns_what_it_is_asked_for() -> None:
    """Asked for outputs turned around: the last layer with its sign changed."""
    graphs = [filled(structure(MLP), seed=i, dtype=torch.float32) for i in range(24)]
    x = torch.randn(16, 2)

    def computed(graph: ParameterGraph) -> Tensor:
        h = x.expand(*graph.batch, -1, -1)
        for i in range(3):
            h = h @ graph.tensors[f"l{i}.weight"].mT + graph.tensors[f"l{i}.bias"].unsqueeze(-2)
            h = h.relu() if i < 2 else h
        return h

    wanted = -torch.stack([computed(graph) for graph in graphs])

    def loss(edited: ParameterGraph, rows: Tensor) -> Tensor:
        return (computed(edited) - wanted[rows]).square().mean()

    editor, groups = made(node_step=0.5, edge_step=0.5), grouped(graphs)
    with torch.no_grad():
        before = float(loss(editor(groups[0].graph), torch.arange(24)))
    fit_editor(editor, groups, loss, Fitting(epochs=40, batch=24, rate=2e-2, patience=40))
    with torch.no_grad():
        after = float(loss(editor(groups[0].graph), torch.arange(24)))
    assert after < before / 3
