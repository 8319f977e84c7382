"""Int8 networks in files: whole numbers and steps in safetensors, nothing pickled.

`.pt2` is no way: torch.export does not take the packed weights of torch's quantised layers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from nasplat.compress.quantisation import quantise
from nasplat.errors import DataError, NasplatError
from nasplat.files import write_atomic

FORMAT = "nasplat-int8-1"


def save_quantised(module: nn.Module, path: str | Path) -> str:
    """Write a network that `quantise` gave, whole or not at all; the SHA-256 of the file."""
    tensors, layers = _parts(module)
    if not layers:
        raise NasplatError(f"{type(module).__name__} has no int8 layers; give what `quantise` returned")
    about = {"format": FORMAT, "static": json.dumps(_is_static(module))}
    return write_atomic(Path(path), save(tensors, about))


def load_quantised(path: str | Path, module: nn.Module, example: Tensor | Sequence[Tensor]) -> nn.Module:
    """The int8 network of a file: module is a float network of the same form, whose weights do not matter.

    DataError for a file that is missing, damaged or of another network.
    """
    stored, about = _read(Path(path))
    per_channel = any(name.endswith(":steps") and tensor.ndim for name, tensor in stored.items())
    first = example if isinstance(example, Tensor) else example[0]
    batches = [first] if json.loads(about["static"]) else None
    network = quantise(module, example, batches, per_channel=per_channel)
    _check(Path(path), stored, _parts(network)[0])
    own = {**dict(network.named_buffers()), **dict(network.named_parameters())}
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(stored[name])
    for name, layer in _parts(network)[1].items():
        own = {key: value for key, value in stored.items() if key.startswith(f"{name}:")}
        _fill(layer, {key.removeprefix(f"{name}:"): value for key, value in own.items()})
    return network


def _parts(module: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All numbers of a quantised network as plain tensors, and its int8 layers, both by name."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in module.named_buffers()}
    tensors |= {name: tensor.detach().contiguous() for name, tensor in module.named_parameters()}
    layers = {name: layer for name, layer in module.named_modules() if _is_int8(layer)}
    for name, layer in layers.items():
        weight, bias = cast(Any, layer)._weight_bias()
        tensors[f"{name}:whole"] = weight.int_repr()
        one = weight.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric)
        steps = torch.tensor(weight.q_scale()).double() if one else weight.q_per_channel_scales().double()
        tensors[f"{name}:steps"] = steps
        if bias is not None:
            tensors[f"{name}:bias"] = bias.detach()
        if hasattr(layer, "scale"):
            tensors[f"{name}:scale"] = torch.tensor(float(cast(Any, layer).scale)).double()
            tensors[f"{name}:zero_point"] = torch.tensor(int(cast(Any, layer).zero_point))
    return tensors, cast(dict[str, Any], layers)


def _fill(layer: Any, parts: dict[str, Tensor]) -> None:
    """Give an int8 layer other numbers; weights are symmetric, so that zero is 0."""
    weight, steps = parts["whole"].float() * _spread(parts["steps"], parts["whole"]), parts["steps"]
    if steps.ndim:
        zeros = torch.zeros_like(steps, dtype=torch.long)
        packed = torch.quantize_per_channel(weight, steps, zeros, 0, torch.qint8)
    else:
        packed = torch.quantize_per_tensor(weight, float(steps), 0, torch.qint8)
    layer.set_weight_bias(packed, parts.get("bias"))
    if "scale" in parts:
        layer.scale, layer.zero_point = float(parts["scale"]), int(parts["zero_point"])


def _spread(steps: Tensor, whole: Tensor) -> Tensor:
    return steps.float().reshape(-1, *[1] * (whole.ndim - 1)) if steps.ndim else steps.float()


def _is_static(module: nn.Module) -> bool:
    return not any(_is_int8(layer) and ".dynamic." in type(layer).__module__ for layer in module.modules())


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read ({error}); give a file that save_quantised wrote") from error
    if about.get("format") != FORMAT:
        raise DataError(f"{path} is of format {about.get('format')}; give a file that save_quantised wrote")
    return stored, about


def _check(path: Path, stored: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    for name in sorted(stored.keys() ^ wanted.keys()):
        where = "the file" if name in stored else "the network"
        raise DataError(
            f"{path} is of another network: only {where} has {name}; give the module it came from"
        )
    for name, tensor in stored.items():
        if tensor.shape != wanted[name].shape or tensor.dtype != wanted[name].dtype:
            raise DataError(
                f"{path}: {name} has shape {tuple(tensor.shape)}, the network {tuple(wanted[name].shape)}; "
                "give the module it came from"
            )


def _is_int8(layer: nn.Module) -> bool:
    return hasattr(layer, "set_weight_bias") and callable(getattr(layer, "weight", None))
