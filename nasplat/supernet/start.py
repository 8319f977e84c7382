"""Where a training starts: the weights of a supernet, or those of its largest network, trained as an ordinary one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nasplat.elastic import ElasticBatchNorm2d, WeightSource, extract
from nasplat.elastic.weights.replace import SHARING
from nasplat.errors import TrainingError
from nasplat.space import Arch, Space
from nasplat.supernet.weights import copy_tensors

FIRST_TAG = 2**32  # no weight is as large; in double precision tags stay whole numbers
NOWHERE = -1
SAVE = "save module.state_dict(), names with tensors"
WRAPPED = "module."  # how DistributedDataParallel and DataParallel name what they wrap


def load_start(net: nn.Module, space: Space, path: Path) -> None:
    """Put the weights of a file into a supernet of the space.

    path: .safetensors, or .pt or .pth, read without running its code. It holds the state_dict of the supernet, or that
    of its largest network as `extract(net, space.largest())` or `space.build(space.largest())` names it; then
    net(x, space.largest()) equals that network afterwards. Weights that several architectures have for themselves,
    such as the experts of a mixture or the norms of every key, all start alike; what the largest network does not
    have, such as transforms of kernels, stays as it is.
    TrainingError names what does not fit, and the network is unchanged.
    """
    found, whole = _read(path), net.state_dict()
    if found.keys() == whole.keys():
        _check(found, whole, path, f"the supernet of {space.name}")
        copy_tensors(found, whole)
        return
    places = places_of(net, space.largest())
    if len(found.keys() & whole.keys()) > len(found.keys() & places.keys()):
        _check(found, whole, path, f"the supernet of {space.name}")
    _check(found, places, path, f"the largest network of {space.name}")
    _fill(net, places, found, path)


def places_of(net: nn.Module, arch: Arch) -> dict[str, Tensor]:
    """Where each number of a subnet lies in the supernet: for each of its tensors one of positions of that shape.

    Positions count the numbers of all weights; NOWHERE where the subnet has counters. Found by extracting a network
    whose weights are their own positions, so it holds however layers slice and arrange them. TrainingError for a
    subnet whose weights are no copies, such as those that a hypernetwork computes.
    """
    tagged = copy.deepcopy(net).to("cpu", torch.float64)
    with torch.no_grad():
        first = FIRST_TAG
        for alike in _weights(tagged):
            tags = torch.arange(first, first + alike[0].numel(), dtype=torch.float64)
            first += len(tags)
            for tensor in alike:
                tensor.copy_(tags.view_as(tensor))
    return {name: _positions(name, t, first) for name, t in extract(tagged, arch).state_dict().items()}


def _positions(name: str, tags: Tensor, end: int) -> Tensor:
    if not tags.is_floating_point():
        return torch.full_like(tags, NOWHERE)
    whole = tags.round()
    if not ((whole - tags).abs() < 0.1).all() or not ((whole >= FIRST_TAG) & (whole < end)).all():
        raise TrainingError(
            f"{name} of the largest network is not copied from the supernet: start from the weights of a supernet"
        )
    return whole.long() - FIRST_TAG


def _weights(net: nn.Module) -> Iterator[list[Tensor]]:
    """The weights and statistics of a supernet in a fixed order; those that stand for each other together."""
    how = getattr(net, SHARING, None)
    seen = (
        {id(tensor) for tensor in how.state_dict(keep_vars=True).values()} if how is not None else set[int]()
    )
    for module in net.modules():
        if isinstance(module, WeightSource):
            for name in module.bank.slot.tensors:
                atoms = list(module.bank.atoms(name))
                if id(atoms[0]) not in seen:
                    yield atoms
                seen |= {
                    id(atom) for atom in atoms if isinstance(atom, nn.Parameter)
                }  # others live no longer
            seen |= {
                id(tensor) for tensor in module.parameters()
            }  # routers and crops say how weights are shared
        if isinstance(module, ElasticBatchNorm2d) and module.key is not None:
            yield from (list(statistics) for statistics in (module.running_mean, module.running_var))
            seen |= {id(module.running_mean), id(module.running_var)}
    for tensor in net.state_dict(keep_vars=True).values():
        if tensor.is_floating_point() and id(tensor) not in seen:
            yield [tensor]
            seen.add(id(tensor))


@torch.no_grad()
def _fill(net: nn.Module, places: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    """Copy the numbers of a subnet to their places."""
    weights = list(_weights(net))
    sizes = [alike[0].numel() for alike in weights]
    numbers = torch.cat([alike[0].cpu().flatten() for alike in weights])
    touched = torch.zeros(len(numbers), dtype=torch.bool)
    known = {name: places[name] for name in found if NOWHERE not in places[name]}
    for name, positions in known.items():
        numbers[positions] = found[name].to(numbers.dtype)
        touched[positions] = True
    for name, positions in known.items():
        if not numbers[positions].equal(found[name].to(numbers.dtype)):
            raise TrainingError(
                f"{path} has two values for {name}, which the supernet shares with another layer"
            )
    for alike, values, mask in zip(
        weights, torch.split(numbers, sizes), torch.split(touched, sizes), strict=True
    ):
        for tensor in alike if mask.any() else ():
            tensor.copy_(values.view_as(tensor))


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name."""
    if not path.is_file():
        raise TrainingError(f"{path} is missing: give a file of weights to start from")
    if path.suffix not in LOADERS:
        raise TrainingError(f"{path} cannot be read: expected .safetensors, .pt or .pth, not {path.suffix!r}")
    try:
        tensors = LOADERS[path.suffix](path)
    except Exception as error:  # whatever it is; torch would advise to run what the file holds
        raise TrainingError(f"{path} holds more than tensors, or is damaged: {SAVE}") from error
    if isinstance(tensors, dict) and isinstance(tensors.get("state_dict"), dict):
        raise TrainingError(
            f"{path} holds a state_dict among other things: save the one under 'state_dict' alone"
        )
    if not isinstance(tensors, dict) or not all(_dense(name, value) for name, value in tensors.items()):
        raise TrainingError(f"{path} holds no state_dict of dense real tensors: {SAVE}")
    return tensors


def _dense(name: object, value: object) -> bool:
    """Whether an entry is one of a usual state_dict."""
    if not isinstance(name, str) or not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and not value.is_complex() and not value.is_quantized


def _torch_load(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


LOADERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": load_file,
    ".pt": _torch_load,
    ".pth": _torch_load,
}


def _check(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Raise TrainingError unless names and shapes are the expected ones and all numbers are finite."""
    for name in sorted(found.keys() | expected.keys()):
        theirs, ours = (str(tuple(t[name].shape)) if name in t else "absent" for t in (found, expected))
        if theirs != ours:
            wrapped = bool(found) and all(key.startswith(WRAPPED) for key in found)
            hint = f"; all its names begin with {WRAPPED!r}: save net.module.state_dict()" if wrapped else ""
            raise TrainingError(f"{path} does not fit {what}: {name} is {theirs}, expected {ours}{hint}")
    for name, tensor in found.items():
        if not tensor.isfinite().all():
            raise TrainingError(
                f"{path} has numbers in {name} that are not finite: start from a sound training"
            )
