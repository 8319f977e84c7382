"""The promises of a space."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import optuna
import torch
from torch import Tensor, nn

from nasplat.conformance.promises import Broken, broken, expect
from nasplat.data import random_inputs
from nasplat.elastic import extract
from nasplat.files import json_hash
from nasplat.search import Mirror
from nasplat.space import Arch, Space, SpaceFactory

SAMPLES = 25
BUILDS = 4
LISTED = 2000
"""A space of up to so many architectures is listed completely."""


@dataclass(frozen=True, slots=True)
class SpaceCase:
    """A space on the bench: how to make it again or with other arguments, itself, and some of its architectures."""

    make: Callable[..., Space]
    arguments: Mapping[str, Any]
    space: Space
    archs: tuple[Arch, ...]


def check_space(factory: SpaceFactory, *, only: str | None = None, **arguments: Any) -> list[str]:
    """The promises that `factory(**arguments)` breaks: "promise: what was seen". `only` names a single one.

    The promises are the keys of SPACE_PROMISES; those on extraction bind spaces that have a `supernet`. Nothing
    is trained.
    """
    make = partial(factory, **arguments)
    space = make()
    rng = np.random.default_rng(0)
    archs = dict.fromkeys([space.smallest(), space.largest(), *(space.sample(rng) for _ in range(SAMPLES))])
    return broken(SPACE_PROMISES, SpaceCase(make, arguments, space, tuple(archs)), only)


def round_trips(case: SpaceCase) -> None:
    """An architecture survives canonicalisation, JSON and flat parameters with its key."""
    for arch in case.archs:
        case.space.validate(arch)
        again = json.loads(json.dumps(arch.to_json()))
        expect(case.space.arch(arch) == arch, f"arch() changes {arch}")
        expect(case.space.arch(again).key == arch.key, f"{arch} has another key after JSON")
        params = json.loads(json.dumps(case.space.params(arch)))
        expect(case.space.from_params(params) == arch, f"{arch} is lost in its parameters {params}")


def canonical_keys(case: SpaceCase) -> None:
    """Different architectures have different keys; values of inactive choices change nothing."""
    expect(len({a.key for a in case.archs}) == len(case.archs), "two architectures share a key")
    for arch in case.archs:
        last = {c.name: c.values[-1] for c in case.space.choices}
        expect(case.space.arch({**last, **arch}) == arch, f"inactive choices change {arch}")


def exact_size(case: SpaceCase) -> None:
    """`size` is the number of architectures that `enumerate` gives, and all of them differ."""
    if case.space.size <= LISTED:
        keys = [arch.key for arch in case.space.enumerate()]
        expect(len(set(keys)) == len(keys), "enumerate() repeats architectures")
        expect(len(keys) == case.space.size, f"size is {case.space.size}, but enumerate() gives {len(keys)}")


def symmetric_neighbours(case: SpaceCase) -> None:
    """Neighbours are other architectures of the space, each once, and have each other as neighbours."""
    for arch in case.archs[:BUILDS]:
        near = list(islice(case.space.neighbours(arch), 50))
        expect(arch not in near, f"{arch} is its own neighbour")
        expect(len(set(near)) == len(near), f"a neighbour of {arch} comes twice")
        for other in near:
            case.space.validate(other)
            expect(arch in case.space.neighbours(other), f"{other} does not know its neighbour {arch}")


def valid_moves(case: SpaceCase) -> None:
    """Mutants differ, children of equal parents do not, and all are architectures of the space."""
    rng = np.random.default_rng(1)
    for a, b in zip(case.archs, case.archs[1:], strict=False):
        mutant = case.space.mutate(a, rng)
        expect(mutant != a, f"mutate() leaves {a} as it is")
        for arch in (mutant, case.space.cross(a, b, rng)):
            case.space.validate(arch)
        expect(case.space.cross(a, a, rng) == a, f"cross() of {a} with itself is another")


def agreeing_suggestions(case: SpaceCase) -> None:
    """Optuna draws every choice in the fixed order, and what it draws is the architecture."""
    names = [name for choice in case.space.choices for name in choice.param_names]
    expect(list(case.space.distributions()) == names, "distributions() are not in the order of the choices")
    mirror = Mirror(["minimize"], lambda seed: optuna.samplers.RandomSampler(seed), case.space, 0)
    for number, arch in enumerate(case.archs[:BUILDS]):
        drawn = mirror.propose(number)
        expect(list(drawn.params) == names, f"suggest() drew {list(drawn.params)}, not {names}")
        expect(
            case.space.from_params(drawn.params) == drawn.arch,
            f"suggest() made {drawn.arch} of {drawn.params}",
        )
        fixed = optuna.trial.FixedTrial(case.space.params(arch))
        expect(case.space.suggest(fixed) == arch, f"suggest() does not give {arch} for its own parameters")


def injective_encoding(case: SpaceCase) -> None:
    """Different architectures have different vectors of one length, with a name for each number."""
    codes = [case.space.encode(arch) for arch in case.archs]
    shape = (len(case.space.encoding_names),)
    expect(all(code.shape == shape for code in codes), f"a vector has another shape than {shape}")
    expect(len({code.tobytes() for code in codes}) == len(codes), "two architectures share a vector")


def stable_description(case: SpaceCase) -> None:
    """The description is JSON, and the space made again has the same hash."""
    again = json.loads(json.dumps(case.space.description))
    expect(json_hash(again) == case.space.hash, "the description has another hash after JSON")
    expect(case.make().hash == case.space.hash, "the space made again has another hash")


def telling_hash(case: SpaceCase) -> None:
    """Arguments `classes` or `input_shape` that change a network change the hash: a store keeps values by it."""
    for name, value in _others(case.arguments):
        other = case.make(**{name: value})
        for arch in case.archs[:2] if other.hash == case.space.hash else ():
            same = _shapes(other.build(arch)) == _shapes(case.space.build(arch))
            expect(same, f"{name} = {value} makes other networks of one hash: name {name} in constants")


def _others(arguments: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """One more class, and inputs twice as long in every direction, where these are arguments."""
    if "classes" in arguments:
        yield "classes", arguments["classes"] + 1
    if "input_shape" in arguments:
        yield "input_shape", tuple(2 * side for side in arguments["input_shape"])


def running_networks(case: SpaceCase) -> None:
    """Every architecture builds a module that runs on `input_shape`, with finite weights and outputs."""
    for arch in case.archs[:BUILDS]:
        module = case.space.build(arch)
        expect(isinstance(module, nn.Module), f"build() gives a {type(module).__name__}, not a module")
        for name, tensor in module.state_dict().items():
            expect(bool(torch.isfinite(tensor).all()), f"{name} of {arch} is not finite")
        with torch.no_grad():
            output = module.eval()(_inputs(case.space))
        expect(isinstance(output, Tensor), f"{arch} gives a {type(output).__name__}, not a tensor")
        expect(len(output) == 2, f"{arch} gives {tuple(output.shape)} for a batch of 2")
        expect(bool(torch.isfinite(output).all()), f"the output of {arch} is not finite")


def repeatable_networks(case: SpaceCase) -> None:
    """A seed gives the same weights again, and building moves no other random draw."""
    arch = case.archs[-1]
    before = torch.random.get_rng_state()
    first, again = (case.space.build(arch).state_dict() for _ in range(2))
    expect(torch.equal(torch.random.get_rng_state(), before), "build() moves the global random state")
    expect(list(first) == list(again), f"the weights of {arch} have other names the second time")
    same = all(torch.equal(first[name], again[name]) for name in first)
    expect(same, f"{arch} has other weights the second time: draw them from torch's default generator")


def equal_extraction(case: SpaceCase) -> None:
    """An extracted subnet computes what the supernet does (to 1e-5, eval mode), in plain torch.nn layers."""
    if not hasattr(case.space, "supernet"):
        return
    net, inputs = case.space.supernet(), _inputs(case.space)
    for arch in case.archs[: 3 * BUILDS]:
        _settle(net, arch, inputs)
        module = extract(net, arch)
        with torch.no_grad():
            outputs, expected = module(inputs), net(inputs, arch)
        error = float((outputs - expected).abs().max() / expected.abs().max().clamp(min=1.0))
        expect(error <= 1e-5, f"the subnet of {arch} is {error:.1e} away from the supernet")
        for name, layer in module.named_modules():
            weights = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
            plain = type(layer).__module__.startswith("torch.") or isinstance(layer, torch.fx.GraphModule)
            expect(plain or not weights, f"{name} of {arch} is a {type(layer).__name__}, no torch.nn layer")


def equal_shapes(case: SpaceCase) -> None:
    """`build` gives weights of the same names and shapes as extraction from the supernet."""
    if not hasattr(case.space, "supernet"):
        return
    net = case.space.supernet()
    for arch in case.archs[:BUILDS]:
        built, extracted = _shapes(case.space.build(arch)), _shapes(extract(net, arch))
        expect(built == extracted, f"build() and extract() differ in {arch}: {dict(built ^ extracted)}")


def _shapes(module: nn.Module) -> set[tuple[str, torch.Size]]:
    return {(name, tensor.shape) for name, tensor in module.state_dict().items()}


def _inputs(space: Space) -> Tensor:
    if space.input_shape is None:
        raise Broken("the space names no input_shape: give Space(..., input_shape=(channels, height, width))")
    return random_inputs(2, space.input_shape, getattr(space, "vocabulary", None))


def _settle(net: nn.Module, arch: Arch, inputs: Tensor) -> None:
    """Evaluation mode, with running statistics that fit the architecture: deep networks still hear their inputs."""
    for layer in net.modules():
        if hasattr(layer, "momentum"):
            vars(layer)["momentum"] = 1.0
    with torch.no_grad():
        net.train()(inputs, arch)
    net.eval()


SPACE_PROMISES: dict[str, Callable[[SpaceCase], None]] = {
    "round trips": round_trips,
    "canonical keys": canonical_keys,
    "exact size": exact_size,
    "symmetric neighbours": symmetric_neighbours,
    "valid moves": valid_moves,
    "agreeing suggestions": agreeing_suggestions,
    "injective encoding": injective_encoding,
    "stable description": stable_description,
    "telling hash": telling_hash,
    "running networks": running_networks,
    "repeatable networks": repeatable_networks,
    "equal extraction": equal_extraction,
    "equal shapes": equal_shapes,
}
