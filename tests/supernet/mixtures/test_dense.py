"""What every way of sharing promises, over real families: one network, taken out, masked, trained, resumed, kept."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from nasplat import load
from nasplat.data import Dataset, Split
from nasplat.elastic import ElasticSpace, Masks, extract
from nasplat.elastic.weights import memory
from nasplat.errors import NasplatError, TrainingError
from nasplat.space import Arch
from nasplat.supernet import METHODS, Settings, load_start, load_weights, save_weights, train
from nasplat.supernet.mixtures import Mixture, Setting, make_mixture
from nasplat.supernet.morphism import SortChannels

FAMILIES: dict[str, dict[str, Any]] = {
    "elastic_convnet": {
        "input_shape": (3, 8, 8),
        "classes": 5,
        "stages": 2,
        "depth": (1, 2),
        "width": (4, 8),
        "block": "inverted",
        "kernel": (1, 3),
    },
    "ofa_mobilenet": {
        "input_shape": (3, 12, 12),
        "classes": 5,
        "depth": (1, 2),
        "kernel": (3, 5),
        "width": 0.25,
    },
    "elastic_vit": {
        "input_shape": (3, 8, 8),
        "classes": 5,
        "depth": (1, 2),
        "width": (16, 32),
        "heads": (1, 2, 4),
    },
    "elastic_lm": {"input_shape": (6,), "classes": 11, "depth": (1, 2), "width": (16, 32)},
}
KINDS: dict[str, dict[str, Any]] = {
    "layer-wise": {"kind": "moe"},
    "neuron-wise": {"kind": "moe", "experts": 3, "per": "neuron"},
    "frozen": {"kind": "moe", "router": "frozen", "per": "neuron"},
    "constant": {"kind": "moe", "router": "constant"},
    "hyper": {"kind": "hyper", "magnitude_invariant": False},
    "invariant": {"kind": "hyper", "atoms": 3},
    "few templates": {"kind": "templates", "share": 0.3},
    "many templates": {"kind": "templates", "share": 1.5},
    "tied": {"kind": "tied"},
    "keyed": {"kind": "keyed", "choice": ""},
    "dealt": {"kind": "dealt"},
    "separate": {"kind": "separate"},
    "split": {"kind": "split", "splits": 1, "repeats": 2, "batch": 8},
    "balanced": {"kind": "balanced", "experts": 2, "choices": []},
}
SLICED = ("dealt", "separate", "split", "balanced")
MASKED = [name for name in KINDS if name not in SLICED]
HERE = [name for name in KINDS if name != "separate"]  # in spaces of any size


def family(name: str) -> ElasticSpace:
    space: ElasticSpace = load("spaces", name)(**FAMILIES[name])
    return space


SPACES = {name: family(name) for name in FAMILIES}
TINY: ElasticSpace = load("spaces", "elastic_convnet")(
    input_shape=(3, 6, 6), classes=3, stages=1, depth=(1, 2), width=(4, 8), kernel=(1, 3)
)


def shared(space: ElasticSpace, name: str) -> ElasticSpace:
    return space.shared(mixture_of(space, name).apply)


def mixture_of(space: ElasticSpace, name: str) -> Mixture:
    choice = next(c.name for c in space.choices if not c.when)
    own = {"keyed": {"choice": choice}, "balanced": {"choices": [choice]}}
    return make_mixture(KINDS[name] | own.get(name, {}))


def shaken(net: nn.Module, seed: int = 0) -> nn.Module:
    """In evaluation mode, with everything that starts equal, or as one, moved at random."""
    rng = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=rng).to(tensor)
            tensor.copy_(0.5 + noise) if "running" in name else tensor.add_(0.1 * (noise - 0.5))
    return net.eval()


def inputs(space: ElasticSpace, n: int = 3) -> Tensor:
    rng = torch.Generator().manual_seed(3)
    shape = space.input_shape or ()
    if space.vocabulary is not None:
        return torch.randint(space.vocabulary, (n, *shape), generator=rng)
    return torch.randn(n, *shape, generator=rng)


def archs(space: ElasticSpace, name: str, count: int = 2) -> list[Arch]:
    rng = np.random.default_rng(list(KINDS).index(name))
    return [space.sample(rng) for _ in range(count)]


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("where", SPACES)
def test_a_subnet_that_is_taken_out_is_plain_and_says_what_it_said_in_the_mixture(
    where: str, name: str
) -> None:
    space = shared(SPACES[where], name)
    net, x = shaken(space.supernet(seed=1)), inputs(space)
    for arch in archs(space, name, count=1 if where == "ofa_mobilenet" else 2):
        module = extract(net, arch)
        with torch.no_grad():
            torch.testing.assert_close(module(x), net(x, arch), rtol=1e-5, atol=1e-5)
        plain = {n: tuple(t.shape) for n, t in SPACES[where].build(arch).state_dict().items()}
        assert {n: tuple(t.shape) for n, t in module.state_dict().items()} == plain


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("where", ["elastic_convnet", "elastic_lm"])
def test_masks_say_what_slices_say(where: str, name: str) -> None:
    space = shared(SPACES[where], name)
    net, x = shaken(space.supernet(seed=1)).double(), inputs(space)
    x = x.double() if x.is_floating_point() else x
    for arch in archs(space, name):
        with torch.no_grad():
            masked = net(x, Masks.one_hot(space, arch))
            torch.testing.assert_close(masked, net(x, arch), rtol=1e-6, atol=1e-6)


def trainable(net: nn.Module) -> dict[str, nn.Parameter]:
    """What says how weights are shared, or is the weight of a linear layer: by name."""
    return {n: p for n, p in net.named_parameters() if "norm" not in n and "crop" not in n}


ONE_HOT = ("keyed", *SLICED)


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ONE_HOT])
def test_gradients_reach_routers_and_every_expert(name: str) -> None:
    net = shaken(shared(TINY, name).supernet(seed=1)).train()
    net(inputs(TINY), TINY.largest()).square().mean().backward()
    for key, parameter in trainable(net).items():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert parameter.grad.abs().max() > 0, key
        else:
            assert name == "frozen"
            assert ".router." in key
            assert parameter.grad is None


@pytest.mark.parametrize("name", ONE_HOT)
def test_gradients_reach_one_expert_alone(name: str) -> None:
    net = shaken(shared(TINY, name).supernet(seed=1)).train()
    net(inputs(TINY), TINY.largest()).square().mean().backward()
    reached = {key.rpartition("_")[2] for key, p in net.named_parameters() if p.grad is not None}
    assert len(reached) == 1


def random_data() -> Dataset:
    rng = torch.Generator().manual_seed(7)
    x, y = torch.randn(48, 3, 6, 6, generator=rng), torch.arange(48) % 3
    return Dataset("noise", *(Split(x[a:b], y[a:b]) for a, b in ((0, 32), (32, 40), (40, 48))), classes=3)


DATA = random_data()
METHOD = METHODS["sandwich"](epochs=2, batch_size=16, learning_rate=0.05)  # 4 steps


def trained(name: str, seed: int, **settings: Any) -> nn.Module:
    mixture = mixture_of(TINY, name)
    net = TINY.shared(mixture.apply).supernet(seed)
    schedule = mixture.schedule(METHOD.schedule(TINY, DATA, 0), Setting(net, TINY, DATA, METHOD, 0))
    train(net, DATA, schedule, METHOD, Settings(pulse=0, **settings))
    return net


@pytest.mark.parametrize("name", KINDS)
def test_a_training_that_was_interrupted_goes_on_to_the_same_file(name: str, tmp_path: Path) -> None:
    space, path = shared(TINY, name), tmp_path / "checkpoint"

    def interrupt(done: int, total: int, facts: Mapping[str, float]) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    whole = trained(name, 0)
    with pytest.raises(KeyboardInterrupt):
        trained(name, 0, checkpoint=path, progress=interrupt)
    resumed = trained(name, 1, checkpoint=path)
    hashes = [save_weights(net, tmp_path / f"{n}.safetensors") for n, net in enumerate([whole, resumed])]
    assert hashes[0] == hashes[1]

    fresh, x = space.supernet(2), inputs(TINY)
    load_weights(fresh, tmp_path / "1.safetensors")
    with torch.no_grad():
        for arch in archs(space, name):
            assert fresh.eval()(x, arch).equal(whole.eval()(x, arch))


@pytest.mark.parametrize("name", KINDS)
def test_a_training_moves_what_it_may_and_nothing_else(name: str) -> None:
    before, after = shared(TINY, name).supernet(0), trained(name, 0)
    moved = {
        n for (n, a), b in zip(before.named_parameters(), after.parameters(), strict=True) if not a.equal(b)
    }
    fixed = {n for n, _ in before.named_parameters()} - moved
    if name == "frozen":
        assert fixed
        assert all(".router." in n for n in fixed)
    elif name not in ONE_HOT:  # a batch norm takes out a coefficient alone
        assert all(n.endswith("coefficients") for n in fixed)


@pytest.mark.parametrize("name", KINDS)
def test_a_copy_is_a_network_of_its_own(name: str) -> None:
    net, x, arch = shaken(shared(TINY, name).supernet()), inputs(TINY), TINY.largest()
    twin = copy.deepcopy(net)
    with torch.no_grad():
        before = net(x, arch)
        assert twin(x, arch).equal(before)
        for parameter in twin.parameters():
            parameter.mul_(1.5)
        assert net(x, arch).equal(before)
        assert not twin(x, arch).allclose(before)


@pytest.mark.parametrize("name", KINDS)
def test_channels_are_sorted_only_where_the_function_stays(name: str) -> None:
    space = shared(TINY, name)
    net, x = shaken(space.supernet()).double(), inputs(TINY).double()
    arch = space.largest()
    with torch.no_grad():
        before = net(x, arch)
        SortChannels(space)(net, torch.optim.SGD(net.parameters()))
        torch.testing.assert_close(net.eval()(x, arch), before)


@pytest.mark.parametrize("name", ["layer-wise", "neuron-wise", "frozen", "constant", *ONE_HOT])
def test_all_experts_start_as_a_network_that_was_trained_alone(name: str, tmp_path: Path) -> None:
    space, path = shared(TINY, name), tmp_path / "largest.safetensors"
    module, net, x = shaken(TINY.build(TINY.largest(), seed=5)), space.supernet(seed=1).eval(), inputs(TINY)
    save_file(module.state_dict(), path)
    load_start(net, space, path)
    plain = TINY.supernet().eval()
    load_start(plain, TINY, path)
    with torch.no_grad():
        torch.testing.assert_close(net(x, TINY.largest()), module(x), rtol=1e-5, atol=1e-5)
        for arch in TINY.enumerate():
            torch.testing.assert_close(net(x, arch), plain(x, arch), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["hyper", "invariant", "few templates", "many templates", "tied"])
def test_weights_that_are_computed_or_tied_cannot_start_as_a_network(name: str, tmp_path: Path) -> None:
    space, path = shared(TINY, name), tmp_path / "largest.safetensors"
    net = space.supernet(seed=1)
    before = {n: tensor.clone() for n, tensor in net.state_dict().items()}
    save_file(shaken(TINY.build(TINY.largest(), seed=5)).state_dict(), path)
    message = (
        "has two values for"
        if name == "tied"
        else "not copied from the supernet: start from the weights of a"
    )
    with pytest.raises(TrainingError, match=message) as caught:
        load_start(net, space, path)
    assert "\n" not in str(caught.value)
    assert all(tensor.equal(before[n]) for n, tensor in net.state_dict().items())
    save_weights(space.supernet(seed=2), path)
    load_start(net, space, path)
    assert all(t.equal(net.state_dict()[n]) for n, t in space.supernet(seed=2).state_dict().items())


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"kind": "moe", "router": "psychic"},
            r"router = psychic: expected one of learned, frozen, constant",
        ),
        ({"kind": "moe", "per": "row"}, r"per = row: expected one of layer, neuron"),
        ({"kind": "moe", "experts": 0}, r"experts = 0: expected 1 to 1,000"),
        ({"kind": "moe", "experts": 1.5}, r"moe experts = 1.5: input should be a valid integer"),
        ({"kind": "moe", "expert": 2}, r"no key 'expert'; did you mean 'experts'"),
        ({"kind": "moe", "hidden": 0}, r"hidden = 0: expected at least 1"),
        ({"kind": "moe", "layers": ["stage.*"]}, r"no elastic layer matches 'stage.\*'"),
        ({"kind": "moe", "layers": ["*.norm*"]}, r"no linear layer or convolution matches \['\*.norm\*'\]"),
        ({"kind": "hyper", "atoms": 1}, r"atoms = 1: expected 2 to 64"),
        ({"kind": "hyper", "hidden": -1}, r"hidden = -1: expected at least 1"),
        ({"kind": "templates", "share": 0.0}, r"share = 0.0: expected above 0"),
        ({"kind": "templates", "share": 3.0}, r"share = 3.0: expected above 0 and up to templates = 2"),
        ({"kind": "templates", "templates": 0}, r"templates = 0: expected 1 to 1,000"),
        (
            {"kind": "tied", "layers": ["head"]},
            r"no two layers of elastic_convnet have weights of the same shape",
        ),
        ({"kind": "keyed"}, r"keyed needs 'choice'"),
        ({"kind": "keyed", "choice": "widht1"}, r"no such choice; did you mean 'width1'"),
        ({"kind": "keyed", "choice": "kernel1_2"}, r"is not in every architecture of elastic_convnet"),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(table: dict[str, Any], message: str) -> None:
    with pytest.raises(NasplatError, match=message) as caught:
        TINY.shared(make_mixture(table).apply).supernet()
    assert "\n" not in str(caught.value)


def test_a_space_is_told_when_it_is_too_large_for_weights_apart() -> None:
    space = SPACES["ofa_mobilenet"].shared(make_mixture({"kind": "separate"}).apply)
    with pytest.raises(
        NasplatError, match=r"has [\d,]+ architectures: up to 1,000 can have weights of their own"
    ):
        space.supernet()


@pytest.mark.parametrize(
    "table", [{"kind": "hyper"}, {"kind": "templates"}, {"kind": "tied"}, {"kind": "split"}]
)
def test_a_network_that_has_the_name_already_is_refused(table: dict[str, Any]) -> None:
    net, mixture = TINY.supernet(), make_mixture(table)
    net.sharing = net.shared_weights = nn.Identity()
    with pytest.raises(NasplatError, match=r"the network has a 'shar\w+' already: rename it"):
        mixture.apply(net, TINY)


@pytest.mark.parametrize("name", ["layer-wise", "hyper", "many templates"])
def test_layers_of_several_sets_of_weights_are_not_shared_once_more(name: str) -> None:
    net = shared(TINY, name).supernet()
    for other in ("layer-wise", "hyper", "tied", "dealt"):
        with pytest.raises(NasplatError, match=r"has \d sets of weights already: leave it out of `layers`"):
            make_mixture(KINDS[other]).apply(net, TINY)


@pytest.mark.parametrize("name", ["layer-wise", "constant", "invariant", "many templates", *ONE_HOT])
def test_sets_of_weights_that_do_not_fit_into_memory_are_told_before_they_are_made(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: 2**12)
    with pytest.raises(NasplatError, match=r"need .* GiB of memory .* this machine has"):
        shared(TINY, name).supernet()
