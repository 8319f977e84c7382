"""What all probes keep: they change nothing, and their numbers are JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from nasplat.data import Dataset
from nasplat.elastic import ElasticSpace
from nasplat.errors import NasplatError
from nasplat.supernet import METHODS, train
from nasplat.supernet.probes import PROBES, Look, look, make_probe

MakeLook = Callable[..., Look]


@pytest.mark.parametrize("name", PROBES)
def test_probe_leaves_weights_buffers_gradients_modes_and_random_numbers_as_they_were(
    name: str, make_look: MakeLook
) -> None:
    at = make_look()
    at.net.get_submodule("norm1").eval()
    for number, parameter in enumerate(at.net.parameters()):
        parameter.grad = torch.randn_like(parameter) if number % 2 else None
    state = {key: tensor.clone() for key, tensor in at.net.state_dict().items()}
    gradients = [p.grad for p in at.net.parameters()]
    copies = [None if g is None else g.clone() for g in gradients]
    modes, random = [m.training for m in at.net.modules()], torch.get_rng_state()

    look(at, make_probe(name), look(at, make_probe(name)))

    assert all(tensor.equal(state[key]) for key, tensor in at.net.state_dict().items())
    for parameter, gradient, copy in zip(at.net.parameters(), gradients, copies, strict=True):
        assert parameter.grad is gradient
        assert copy is None or (gradient is not None and gradient.equal(copy))
    assert [m.training for m in at.net.modules()] == modes
    assert torch.get_rng_state().equal(random)


@pytest.mark.parametrize("name", PROBES)
def test_probe_gives_json_and_the_same_for_the_same_network(name: str, make_look: MakeLook) -> None:
    at = make_look(asked=[make_look().space.smallest()] * 3)
    torch.manual_seed(4)
    first = look(at, make_probe(name))
    torch.manual_seed(5)
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert look(at, make_probe(name)) == first
    assert make_probe(name).unit


def test_training_that_is_looked_at_is_the_same_bit_for_bit(space: ElasticSpace, data: Dataset) -> None:
    method = METHODS["sandwich"](epochs=3, batch_size=20, random=1)
    nets = []
    for probes in ([], [make_probe(name) for name in PROBES]):
        net, seen = space.supernet(), []

        def after_epoch(epoch: int) -> None:
            at = Look(net, space, data, epoch, calibration=[data.train.inputs])  # noqa: B023
            seen.extend(look(at, probe) for probe in probes)  # noqa: B023

        train(net, data, method.schedule(space, data, 0), method, after_epoch=after_epoch)
        assert len(seen) == 3 * len(probes)
        nets.append(net)
    plain, looked_at = (net.state_dict() for net in nets)
    assert all(tensor.equal(looked_at[name]) for name, tensor in plain.items())


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("gradient_conflicts", "probe 'gradient_conflicts' is unknown; did you mean 'gradient_conflict'"),
        ("load:depth", "load takes no kind of choice; write 'load'"),
    ],
)
def test_probe_that_cannot_be_made_is_told_in_one_line(name: str, line: str) -> None:
    with pytest.raises(NasplatError, match=line) as told:
        make_probe(name)
    assert "\n" not in str(told.value)


def test_subnet_is_judged_raw_where_the_study_judges_so(make_look: MakeLook) -> None:
    at = make_look()
    arch = at.space.largest()
    raw, calibrated = replace(at, raw=True).subnet(arch), at.subnet(arch)
    ours = at.net.get_buffer("norm1.running_mean")
    assert any(b.shape == ours.shape and b.equal(ours) for b in raw.buffers())
    assert not any(b.shape == ours.shape and b.equal(ours) for b in calibrated.buffers())
