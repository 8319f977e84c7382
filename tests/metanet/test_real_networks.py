"""Traced networks of many kinds: permuting their channels moves states of neurons and leaves numbers of networks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nasplat.channels import ChannelSpec, ParameterGraph, channel_spec
from nasplat.channels.permutation import node_permutation, permute_state, random_permutation
from nasplat.metanet.backbones import BACKBONES, BackboneName
from nasplat.metanet.invariant import Invariant


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.inner, self.outer = nn.Conv2d(6, 4, 3, padding=1), nn.Conv2d(4, 6, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.outer(torch.relu(self.inner(x))))
        head: Tensor = self.head(x.mean((2, 3)))
        return head


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(7, 8)
        self.norm, self.attend = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.up, self.down, self.head = nn.Linear(8, 12), nn.Linear(12, 8), nn.Linear(8, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x)
        y = self.norm(x)
        x = x + self.attend(y, y, y, need_weights=False)[0]
        head: Tensor = self.head(x + self.down(nn.functional.gelu(self.up(x))))
        return head


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.Tanh(), nn.Conv2d(5, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 2 * 2, 3)
    )


def depthwise() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 1),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.BatchNorm2d(4),
        nn.SiLU(),
        nn.Conv2d(4, 6, 3, groups=2),
    )


IMAGE, TEXT = torch.zeros(1, 1, 6, 6), torch.zeros(1, 4, dtype=torch.int64)
NETWORKS = {
    "plain": (plain, IMAGE),
    "residual": (Residual, IMAGE),
    "depthwise": (depthwise, IMAGE),
    "attention": (Attention, TEXT),
}


def traced(name: str) -> tuple[ChannelSpec, ParameterGraph]:
    """A network with random weights, statistics of norms and all."""
    torch.manual_seed(0)
    build, example = NETWORKS[name]
    module = build().eval()
    spec = channel_spec(module, example)
    tensors = {
        n: t + 0.3 * torch.rand_like(t) if t.is_floating_point() else t
        for n, t in module.state_dict().items()
    }
    return spec, ParameterGraph(spec.structure, tensors)


def permuted(spec: ChannelSpec, graph: ParameterGraph) -> tuple[ParameterGraph, Tensor]:
    """The same network with its channels in another order, and the old node at every place."""
    order = random_permutation(spec, torch.Generator().manual_seed(1))
    tensors = permute_state(spec, graph.tensors, order)
    assert any(not torch.equal(tensors[name], graph.tensors[name]) for name in tensors)
    return ParameterGraph(spec.structure, tensors), torch.from_numpy(node_permutation(spec, order))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", [name for name in BACKBONES if name != "edge_gated"])
def test_states_of_neurons_follow_their_channels(name: BackboneName, network: str) -> None:
    spec, graph = traced(network)
    moved, old = permuted(spec, graph)
    torch.manual_seed(0)
    backbone = BACKBONES[name](8, 2, 7).eval()
    one, two = backbone(graph).nodes, backbone(moved).nodes
    assert one.std() > 0.01
    torch.testing.assert_close(two, one[:, old], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", BACKBONES)
def test_one_model_judges_all_of_them_and_permutations_alike(name: BackboneName, network: str) -> None:
    torch.manual_seed(0)
    judge = Invariant(BACKBONES[name](8, 2, 7), 8, outputs=4).eval()
    judge.learn_scales([traced("plain")[1]])
    spec, graph = traced(network)
    moved, _ = permuted(spec, graph)
    assert judge(graph).shape == (1, 4)
    torch.testing.assert_close(judge(moved), judge(graph), atol=1e-4, rtol=1e-4)
