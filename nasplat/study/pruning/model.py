"""The network that a person names: a bundle, a program of torch.export, or a module with its weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from nasplat.errors import DataError, InvalidStudy
from nasplat.export import check_bundle, load_bundle
from nasplat.files import content_hash, json_hash
from nasplat.study.module import load_module
from nasplat.study.pruning.program import load_layers


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A network in evaluation mode on the CPU, a short name for it, and what it was loaded from.

    hash: of its form and its values.
    """

    module: nn.Module
    name: str
    source: str
    weights: str | None
    hash: str


def load_subject(what: str, weights: Path | None = None, seed: int = 0) -> Subject:
    """The network of a bundle's folder, of a `.pt2` file, of `file.py:NAME` or of `package.module:NAME`.

    weights: a safetensors file with exactly the tensors of a module that is named; without it, the module keeps what
    it is made with. Bundles and modules run code. InvalidStudy: nothing of the kind. DataError: weights that do not
    fit. ExportError: a bundle or a program that cannot be used.
    """
    path = Path(what)
    if path.is_dir() or path.suffix == ".pt2":
        if weights is not None:
            raise InvalidStudy(f"{what} has weights of its own: leave out --weights {weights}")
        module, name = _of_files(path), path.resolve().name.removesuffix(".pt2")
    elif ":" in what:
        module = copy.deepcopy(load_module(what, seed))
        if weights is not None:
            fill(module, weights)
        name = what.rpartition(":")[2]
    else:
        raise InvalidStudy(
            f"{what} is no network: expected a bundle's folder, a .pt2 file, file.py:NAME or package.module:NAME"
        )
    module = module.cpu().eval()
    _check_finite(module, what)
    return Subject(module, name, what, None if weights is None else str(weights), _hash(module))


def _of_files(path: Path) -> nn.Module:
    if not path.exists():
        raise InvalidStudy(f"no file {path}; give a bundle's folder or a .pt2 file")
    if not path.is_dir():
        return load_layers(path)
    formats = check_bundle(path).drift
    return (
        load_layers(path / "network.pt2")
        if "state" not in formats and "pt2" in formats
        else load_bundle(path)
    )


def fill(module: nn.Module, path: Path) -> None:
    """Give a module the tensors of a safetensors file. DataError, and an unchanged module, where they do not fit."""
    try:
        tensors = safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path} cannot be read as safetensors: {reason}; save the module's state_dict()"
        ) from error
    expected = module.state_dict()
    for name in [*expected, *(name for name in tensors if name not in expected)]:
        here, there = (_shape(of.get(name)) for of in (expected, tensors))
        if here != there:
            raise DataError(
                f"{path} does not fit {type(module).__name__}: {name} is {there}, expected {here}"
            )
    module.load_state_dict(tensors)


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else str(tuple(tensor.shape))


def _check_finite(module: nn.Module, what: str) -> None:
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DataError(f"{what}: {name} has numbers that are not finite; train it again")


def _hash(module: nn.Module) -> str:
    state = {name: tensor.detach().clone().contiguous() for name, tensor in module.state_dict().items()}
    return json_hash([repr(module), content_hash(safetensors.torch.save(state))])
