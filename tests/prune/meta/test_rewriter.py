"""What a metanetwork may do to a network: everything but to take note of the order of its channels."""

from __future__ import annotations

from dataclasses import replace

import torch

from nasplat.channels import ParameterGraph, permute_state, random_permutation
from nasplat.prune.meta.data_models import data_model
from nasplat.prune.meta.rewriter import Rewriter
from nasplat.prune.meta.settings import MetaSettings

from .pupils import EXAMPLE, TINY, pupil


def rewriter(settings: MetaSettings = TINY) -> Rewriter:
    torch.manual_seed(5)
    made = Rewriter(settings).eval()
    made.learn([data_model(pupil(seed=seed), EXAMPLE).graph for seed in range(3)])
    return made


def test_steps_of_zero_leave_every_number_exactly() -> None:
    graph = data_model(pupil(), EXAMPLE).graph
    made = rewriter(replace(TINY, node_step=0.0, edge_step=0.0))(graph)
    assert all(torch.equal(made.tensors[name], tensor) for name, tensor in graph.tensors.items())


def test_weights_biases_and_scales_are_written_and_running_statistics_are_not() -> None:
    graph = data_model(pupil(), EXAMPLE).graph
    made = rewriter()(graph)
    same = {name for name, tensor in graph.tensors.items() if torch.equal(made.tensors[name], tensor)}
    assert same == {name for name in graph.tensors if "running" in name or "tracked" in name}


def test_permuted_channels_give_permuted_numbers() -> None:
    model, made = data_model(pupil(6), EXAMPLE), rewriter().double()
    tensors = {name: t.double() if t.is_floating_point() else t for name, t in model.graph.tensors.items()}
    order = random_permutation(model.spec, torch.Generator().manual_seed(2))
    permuted = made(ParameterGraph(model.spec.structure, permute_state(model.spec, tensors, order))).tensors
    expected = permute_state(model.spec, made(ParameterGraph(model.spec.structure, tensors)).tensors, order)
    for name, tensor in expected.items():
        torch.testing.assert_close(permuted[name], tensor)
