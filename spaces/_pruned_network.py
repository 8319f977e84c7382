"""The network that a pruning space cuts: made by a function of the user's, with trained weights from a file."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nasplat.arguments import accepts, check_arguments
from nasplat.errors import NasplatError
from nasplat.plugins import load_object


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """A network before it is cut. make: one with fresh weights; facts: what tells it from others, as JSON."""

    module: nn.Module
    make: Callable[[], nn.Module]
    trained: bool
    facts: Mapping[str, Any] = field(default_factory=dict)


def whole_network(
    model: str,
    arguments: Mapping[str, Any],
    weights: str | None,
    known: Mapping[str, Any],
    base: Path | None,
) -> Whole:
    """The network of `model`, which is a module or a function that makes one, with the weights of a file if any.

    known: further arguments, for a function that takes them. NasplatError in one line: no such thing, arguments that
    it does not take, weights of another network.
    """
    make = _maker(model, arguments, known, base)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module = make().eval()
    path = None if weights is None else Path(base or ".") / weights
    if path is not None:
        _load(module, path)
    shapes = {name: list(tensor.shape) for name, tensor in module.state_dict().items()}
    facts: dict[str, Any] = {
        "model": model,
        "arguments": dict(arguments),
        "shapes": _hash(json.dumps(shapes).encode()),
    }
    source, _, _ = model.rpartition(":")
    if source.endswith(".py"):  # another network may have the same shapes
        facts["source"] = _hash((Path(base or ".") / source).read_bytes())
    return Whole(
        module, make, path is not None, facts | ({"weights": _hash(path.read_bytes())} if path else {})
    )


def _hash(content: bytes) -> str:
    return sha256(content).hexdigest()


def _maker(
    model: str, arguments: Mapping[str, Any], known: Mapping[str, Any], base: Path | None
) -> Callable[[], nn.Module]:
    found = load_object(model, base)
    if isinstance(found, nn.Module):
        if arguments:
            raise NasplatError(
                f"{model} is a network, not a function of {min(arguments)!r}: leave arguments out"
            )
        return partial(copy.deepcopy, found)
    if not callable(found):
        raise NasplatError(f"{model} is {type(found).__name__}: give a function that makes a network")
    given = {name: value for name, value in known.items() if accepts(found, name)}
    checked = check_arguments(found, {**given, **arguments}, f"[space] arguments of {model}")

    def make() -> nn.Module:
        made = found(**checked)
        if not isinstance(made, nn.Module):
            raise NasplatError(f"{model} made a {type(made).__name__}: give a function that makes a network")
        return made

    return make


def _load(module: nn.Module, path: Path) -> None:
    """Copy a file's tensors into a network that has exactly these; nothing is changed where they do not fit."""
    if not path.is_file():
        raise NasplatError(f"no file {path}: give the trained weights as safetensors, or leave weights out")
    try:
        found = load_file(path)
    except (SafetensorError, OSError) as error:
        raise NasplatError(f"{path} is no safetensors file ({error}): save a state_dict as one") from error
    expected = module.state_dict()
    for name in sorted(found.keys() | expected.keys()):
        if _shape(found, name) != _shape(expected, name):
            raise NasplatError(
                f"{path} does not fit the network: {name} is {_shape(found, name)}, expected {_shape(expected, name)}"
            )
    module.load_state_dict(found)


def _shape(tensors: Mapping[str, Tensor], name: str) -> str:
    return str(tuple(tensors[name].shape)) if name in tensors else "absent"
