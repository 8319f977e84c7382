"""Tensors in safetensors files: written whole or not at all, checked before they are trusted; no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from nasplat.errors import TrainingError
from nasplat.files import write_atomic


def save_weights(net: nn.Module, path: Path) -> str:
    """Write parameters and buffers to a safetensors file; its content hash."""
    return write_tensors(path, net.state_dict())


def load_weights(net: nn.Module, path: Path) -> None:
    """Copy the tensors of a file into a module that has exactly these names, shapes and types.

    TrainingError, and an unchanged module, where the file is missing, damaged or of another network.
    """
    tensors, _ = read_tensors(path)
    check_tensors(tensors, net.state_dict(), path)
    copy_tensors(tensors, net.state_dict())


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> str:
    """Write named tensors and a few words about them to a safetensors file; its content hash."""
    packed = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    return write_atomic(path, save(packed, dict(metadata or {})))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file. TrainingError where it is missing or damaged."""
    if not path.is_file():
        raise TrainingError(f"{path} is missing; train again")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{path} is damaged ({error}); delete it and train again") from error


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Raise TrainingError unless the names, shapes and types are the expected ones."""
    for name in sorted(found.keys() | expected.keys()):
        ours, theirs = (_form(tensors.get(name)) for tensors in (expected, found))
        if ours != theirs:
            raise TrainingError(
                f"{path} is of another network: {name} is {theirs}, expected {ours}; delete the file or use its network"
            )


def _form(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def copy_tensors(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Copy values by name, each to where its target lies."""
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(source[name])
