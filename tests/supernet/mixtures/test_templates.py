"""Weights that layers share: how many there are, and whose they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nasplat import load
from nasplat.elastic import ElasticSpace, extract
from nasplat.elastic.groups import LINEAR
from nasplat.supernet import load_start
from nasplat.supernet.mixtures import Hyper, SharedTemplates, Tied

SPACE: ElasticSpace = load("spaces", "elastic_convnet")(
    input_shape=(3, 6, 6), classes=3, stages=1, depth=(2, 3), width=(4, 8), kernel=(1, 3)
)
X = torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(3))


def numbers(space: ElasticSpace) -> int:
    """In the weights of linear layers and convolutions, each once."""
    layers = [layer.source.bank for layer in space.supernet().modules() if isinstance(layer, LINEAR)]
    return sum({id(p): p.numel() for bank in layers for p in bank.parameters()}.values())


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0, 2.0])
def test_templates_take_their_share_of_the_plain_parameters(share: float) -> None:
    assert numbers(SPACE.shared(SharedTemplates(share=share).apply)) == round(share * numbers(SPACE))


def test_one_template_each_of_a_full_bank_is_the_plain_supernet() -> None:
    net = SPACE.shared(SharedTemplates(share=1.0, templates=1).apply).supernet(seed=1).eval()
    plain = SPACE.supernet(seed=1).eval()
    with torch.no_grad():
        for arch in (SPACE.smallest(), SPACE.largest()):
            assert net(X, arch).equal(plain(X, arch))


def test_a_full_bank_can_start_as_a_network_that_was_trained_alone(tmp_path: Path) -> None:
    module, path = SPACE.build(SPACE.largest(), seed=5).eval(), tmp_path / "largest.safetensors"
    save_file(module.state_dict(), path)
    net = SPACE.shared(SharedTemplates(share=1.0, templates=1).apply).supernet(seed=1).eval()
    load_start(net, SPACE, path)
    with torch.no_grad():
        assert net(X, SPACE.largest()).equal(module(X))


def test_subnets_of_tied_layers_have_equal_weights_and_learn_together() -> None:
    net = SPACE.shared(Tied().apply).supernet(seed=1).eval()
    module = extract(net, SPACE.largest())
    alike = [p for n, p in module.named_parameters() if n.startswith("stages") and p.shape == (8, 8, 3, 3)]
    assert len(alike) == 5  # two in each of three blocks, but for the first of all, which reads the stem
    assert all(kernel.equal(alike[0]) for kernel in alike)
    assert numbers(SPACE.shared(Tied().apply)) == numbers(SPACE) - 4 * 8 * 8 * 3 * 3
    for either in (net(X, SPACE.largest()), module(X)):
        either.square().mean().backward()
    (tied,) = (p for p in net.shared_weights.parameters() if p.shape == alike[0].shape)
    assert tied.grad is not None
    each = torch.stack([kernel.grad for kernel in alike if kernel.grad is not None])
    assert (each.abs().amax((1, 2, 3, 4)) > 0).tolist() == [True] * 5
    torch.testing.assert_close(tied.grad, each.sum(0))  # by the chain rule, from five that are apart


def test_what_layers_share_has_one_name_in_the_state() -> None:
    for mixture, shared in (
        (SharedTemplates(), "shared_weights.weight_0"),
        (Hyper(), "sharing.first.weight"),
    ):
        net = SPACE.shared(mixture.apply).supernet()
        tensors = list(net.state_dict(keep_vars=True).items())
        assert shared in dict(tensors)
        assert len({id(t) for _, t in tensors}) == len(tensors)


def test_a_hypernetwork_costs_as_many_sets_of_weights_as_it_has_atoms() -> None:
    assert numbers(SPACE.shared(Hyper(atoms=5).apply)) == 5 * numbers(SPACE)
