"""Numbers of whole networks: invariant, the same alone and in company, on forms never seen; learned by one loop."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nasplat.channels.graph import ParameterGraph
from nasplat.channels.structure import GraphStructure
from nasplat.metanet.backbones import BACKBONES, BackboneName
from nasplat.metanet.fitting import Fitting, fit, judged
from nasplat.metanet.groups import grouped
from nasplat.metanet.invariant import Invariant
from nasplat.metanet.readout import Pool
from nasplat.metanet.standard import Standard

from .by_hand import CNN, DEPTHWISE, MLP, filled, permuted, relabelled, structure

FORMS: dict[str, GraphStructure] = {
    "cnn": structure(CNN, norms=True),
    "mlp": structure(MLP, activation="tanh"),
    "depthwise": structure(DEPTHWISE, norms=True),
    "skips": structure((("conv", 4, (3, 3)), ("conv", 4, (3, 3)), ("linear", 3, ())), skips=[(0, 1)]),
}


def made(name: BackboneName = "pna", width: int = 8, **more: object) -> Invariant:
    torch.manual_seed(0)
    return Invariant(BACKBONES[name](width, 2, 3), width, **more).eval()  # type: ignore[arg-type]


def single(form: GraphStructure, seed: int = 0, batch: tuple[int, ...] = ()) -> ParameterGraph:
    return filled(form, seed, batch, torch.float32)


@pytest.mark.parametrize("scales", [False, True])
@pytest.mark.parametrize("name", BACKBONES)
def test_the_order_of_neurons_does_not_matter(name: BackboneName, scales: bool) -> None:
    network, plain = made(name, outputs=3, scales=scales), single(FORMS["cnn"], batch=(4,))
    moved, _ = permuted(plain, seed=1)
    found = network(plain)
    assert found.shape == (4, 3)
    assert found.std(0).min() > 1e-4
    torch.testing.assert_close(network(moved), found, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network.embedded(moved), network.embedded(plain), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "max", "deviation", "attention"])
@pytest.mark.parametrize("form", FORMS)
def test_every_pooling_is_invariant_on_every_form(form: str, pooling: str) -> None:
    network, plain = made(poolings=(pooling,)), single(FORMS[form], batch=(2,))
    moved = ParameterGraph(relabelled(FORMS[form], 2)[0], plain.tensors)
    torch.testing.assert_close(network(moved), network(plain), atol=1e-4, rtol=1e-4)


def test_pools_are_what_they_are_called() -> None:
    values = torch.randn(2, 5, 3)
    assert torch.equal(Pool(3, "mean")(values), values.mean(1))
    assert torch.equal(Pool(3, "max")(values), values.amax(1))
    torch.testing.assert_close(
        Pool(3, "deviation")(values), values.std(1, correction=0), atol=1e-5, rtol=1e-4
    )
    attention = Pool(3, "attention")
    weights = torch.softmax(attention.score(values)[..., 0], 1)  # type: ignore[misc]
    torch.testing.assert_close(attention(values), torch.einsum("mn,mnh->mh", weights, values))


def test_layers_have_codes_of_their_own_rows() -> None:
    network, plain = made("deep_sets"), single(FORMS["mlp"], batch=(2,))
    other = {**plain.tensors, "l1.weight": plain.tensors["l1.weight"] + 1}
    one, two = (network.codes(network.prepared(g)) for g in (plain, replace(plain, tensors=other)))
    assert one.shape == (2, 4, 16)
    assert (one - two).abs().amax((0, 2)).gt(1e-5).tolist() == [False, False, True, False]


def test_networks_on_one_scale_have_numbers_of_order_one() -> None:
    form = FORMS["cnn"]
    large = {name: 100 * tensor + 7 for name, tensor in single(form, batch=(50,)).tensors.items()}
    standard = Standard()
    standard.learn([ParameterGraph(form, large)])
    found = standard(ParameterGraph(form, large))
    for name, tensor in found.tensors.items():
        assert 0.3 < tensor.square().mean().sqrt() < 1.5, name
    huge = standard(ParameterGraph(form, {name: 1e6 * tensor for name, tensor in large.items()}))
    assert max(float(tensor.abs().max()) for tensor in huge.tensors.values()) < 30


def test_a_kind_never_seen_is_scaled_as_all_others_are() -> None:
    standard = Standard()
    standard.learn([single(FORMS["mlp"], batch=(20,))])
    assert standard.size.std() < 1e-6
    assert standard.size[0] != 1


def test_it_learns_from_several_forms_and_judges_one_that_it_never_saw() -> None:
    def worth(graph: ParameterGraph) -> Tensor:
        return graph.tensors["l1.weight"].flatten(1).square().mean(1).log()

    torch.manual_seed(0)
    graphs, targets = [], []
    for form in ("cnn", "skips", "depthwise"):
        size = torch.exp(torch.randn(60))
        many = single(FORMS[form], batch=(60,))
        tensors = {n: t * size.view(-1, *[1] * (t.ndim - 1)) for n, t in many.tensors.items()}
        graphs += [ParameterGraph(FORMS[form], {n: t[i] for n, t in tensors.items()}) for i in range(60)]
        targets.append(worth(ParameterGraph(FORMS[form], tensors)))
    y = torch.cat(targets)
    y = (y - y.mean()) / y.std()
    network = made()
    losses = fit(network, grouped(graphs[:120]), y[:120], _mse, Fitting(epochs=15, batch=20))
    assert len(losses) <= 15
    assert not network.training
    found = judged(network, grouped(graphs[120:]))[:, 0]
    assert torch.corrcoef(torch.stack([found, y[120:]]))[0, 1] > 0.8


def _mse(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.squeeze(1) - targets).square().mean()


def test_the_best_epoch_on_held_out_networks_is_kept() -> None:
    torch.manual_seed(0)
    graphs = [single(FORMS["mlp"], seed=i) for i in range(20)]
    network, y = made(), torch.randn(20)
    losses = fit(network, grouped(graphs), y, _mse, Fitting(epochs=40, rate=3e-2, patience=3, held_out=0.5))
    assert len(losses) <= losses.index(min(losses)) + 1 + 3
    assert len(losses) < 40  # nothing to learn from noise: it stops


def test_answers_come_back_in_the_order_of_the_networks() -> None:
    graphs = [single(FORMS["mlp" if i % 2 else "cnn"], seed=i) for i in range(6)]
    network = made()
    found = judged(network, grouped(graphs))
    alone = [network(grouped([graph])[0].graph)[0] for graph in graphs]
    torch.testing.assert_close(found, torch.stack(alone), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", BACKBONES)
def test_nothing_is_left_behind_on_another_device(name: BackboneName) -> None:
    plain = single(FORMS["skips"], batch=(2,))
    away = ParameterGraph(
        plain.structure, {name: tensor.to("meta") for name, tensor in plain.tensors.items()}
    )
    network = made(name, poolings=("mean", "max", "attention"), scales=True).to("meta")
    assert network(away).device.type == "meta"  # a tensor of the CPU among those of meta raises
