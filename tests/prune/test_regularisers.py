"""Terms of gradients: closed forms, torch-pruning's, and what they do to channels in training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn

from nasplat.channels import ChannelSpec, channel_spec, named_tensors
from nasplat.errors import NasplatError
from nasplat.prune.group_norms import norms, placed
from nasplat.prune.masked import channel_masks
from nasplat.prune.regularisers import GroupSparsity, Growing, Regulariser, ScaleL1, gradients
from nasplat.prune.scores import Magnitude

from ..channels.architectures import ALL
from ..channels.conftest import trace
from .scores.networks import evidence


class Small(nn.Module):
    """Input channels 0 and 1, hidden 2 to 4, output 5; a scale that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)
        self.double().eval()
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([[3, 4], [0, 0], [0, 2]]))
            self.norm.weight.copy_(torch.tensor([-5, 1, 0]))
            self.last.weight.copy_(torch.tensor([[0, 1, -2]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x)))


def small() -> tuple[Small, ChannelSpec]:
    network = Small()
    return network, channel_spec(network, torch.zeros(4, 2).double())


def added(network: nn.Module, spec: ChannelSpec, regulariser: Regulariser, x: Tensor) -> dict[str, Tensor]:
    """What a regulariser changes of the gradients of one backward pass."""

    def grads() -> dict[str, Tensor]:
        network.zero_grad()
        network(x).pow(2).sum().backward()
        return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}

    plain = grads()
    with regulariser.on(network, spec):
        regular = grads()
    after = grads()
    assert all(torch.equal(after[name], plain[name]) for name in plain)
    return {name: regular[name] - plain[name] for name in plain}


def test_slimming_adds_the_signs_of_scales_and_nothing_else() -> None:
    network, spec = small()
    found = added(network, spec, ScaleL1(0.5), torch.randn(4, 2).double())
    torch.testing.assert_close(found.pop("norm.weight"), torch.tensor([-0.5, 0.5, 0]).double())
    assert all(bool((one == 0).all()) for one in found.values())


def test_group_sparsity_pulls_the_smallest_channel_most() -> None:
    network, spec = small()
    found = added(network, spec, GroupSparsity(0.1, alpha=16), torch.randn(4, 2).double())
    # squares: 25 + 25 + 0, 0 + 1 + 1, 4 + 0 + 4; over three members, then the root
    norms = (torch.tensor([50, 2, 8]).double() / 3).sqrt()
    pull = 0.1 * 16 ** ((norms[0] - norms) / (norms[0] - norms[1]))
    torch.testing.assert_close(found["first.weight"], pull[:, None] * network.first.weight.detach())
    torch.testing.assert_close(found["norm.weight"], pull * network.norm.weight.detach())
    torch.testing.assert_close(found["last.weight"], pull * network.last.weight.detach())
    assert bool((found["first.bias"] == 0).all())
    assert bool((found["norm.bias"] == 0).all())


@pytest.mark.parametrize("name", ["resnet8", "vgg11", "densenet"])
def test_group_sparsity_is_that_of_torch_pruning(name: str) -> None:
    network, spec = ALL[name].network().float(), trace(name).spec
    example = tuple(x.float() for x in ALL[name].example())
    head = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    pruner = tp.pruner.GroupNormPruner(
        network,
        example,
        tp.importance.GroupMagnitudeImportance(2, "mean", "max"),
        reg=0.3,
        ignored_layers=[head],
    )
    for tensor in network.parameters():
        tensor.grad = torch.zeros_like(tensor)
    pruner.regularize(network, alpha=16)
    found = gradients({key: p.detach() for key, p in network.named_parameters()}, spec)
    for key, tensor in network.named_parameters():
        expected = torch.zeros_like(tensor) if key not in found else 0.3 * found[key]
        torch.testing.assert_close(expected, tensor.grad, rtol=1e-4, atol=1e-6)


def test_equal_channels_and_spared_ones() -> None:
    network, spec = small()
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.fill_(2)
    tensors = dict(network.named_parameters())
    assert all(bool((one == 2).all()) for one in gradients(tensors, spec).values())
    hidden = next(space for space in spec.spaces if space.kind == "hidden")
    spared = GroupSparsity(spare=(hidden.name,)).pull(spec)(tensors, 0)
    assert all(bool((one == 0).all()) for one in spared.values())


def test_what_is_to_go_is_pulled_ever_more_until_a_ceiling() -> None:
    network, spec = small()
    kept = np.array([True, True, True, False, True, True])
    pull = Growing(kept, step=0.25, every=2, ceiling=0.6).pull(spec)
    tensors = {key: p.detach() for key, p in network.named_parameters()}
    gone = ~channel_masks(spec, kept)["first.weight"]
    for passes, size in ((0, 0.0), (1, 0.0), (2, 0.25), (3, 0.25), (4, 0.5), (6, 0.6), (99, 0.6)):
        found = pull(tensors, passes)["first.weight"]
        torch.testing.assert_close(found, size * tensors["first.weight"] * gone)
    with pytest.raises(NasplatError, match="one bool for each of the 6 channels"):
        Growing(kept[:-1]).pull(spec)


@pytest.mark.parametrize(
    "regulariser",
    [lambda kept: GroupSparsity(0.02), lambda kept: Growing(kept, 0.01, 1)],
    ids=["group sparsity", "growing"],
)
def test_any_loop_shrinks_channels_inside_the_block_and_counts_passes_from_its_beginning(
    regulariser: Callable[[np.ndarray], Regulariser],
) -> None:
    """No loss at all: an optimiser sees the term alone, computed of the weights of each step."""
    network, spec = small()
    with torch.no_grad():
        network.first.weight.add_(1)
    made = regulariser(np.array([True, True, True, False, False, True]))
    twin = {key: p.detach().clone() for key, p in network.named_parameters()}
    pull = made.pull(spec)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.5)
    with made.on(network, spec):
        for passes in range(5):
            optimiser.zero_grad()
            (0.0 * network(torch.randn(4, 2).double())).sum().backward()
            optimiser.step()
            terms = pull(twin, passes)
            twin = {key: one - 0.5 * terms.get(key, 0.0) for key, one in twin.items()}
    for key, tensor in network.named_parameters():
        torch.testing.assert_close(tensor.detach(), twin[key])
    assert float(network.first.weight.detach()[1].norm()) < 2**0.5


@pytest.mark.parametrize("name", ["resnext", "decoder", "gru", "self_concat", "convnext", "vgg11"])
def test_group_norms_are_the_roots_of_the_score(name: str) -> None:
    """Another route: rows of every axis there, sums by index here."""
    one = evidence(name)
    tensors, slots = named_tensors(one.module), placed(one.spec, ("weight", "scale"))
    score = Magnitude(2, "mean", "none")(one)
    found = norms(tensors, slots, len(score) + 1)[:-1]
    carried = score.isfinite()
    torch.testing.assert_close(found[carried].square(), score[carried], rtol=1e-5, atol=1e-8)
    assert bool((found[~carried] == 0).all())
