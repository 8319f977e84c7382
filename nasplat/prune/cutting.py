"""From channels that stay to tensors with fewer rows and columns, and to a module that holds them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from nasplat.channels import ChannelSpec
from nasplat.channels.structure import Numbers
from nasplat.errors import NasplatError
from nasplat.prune.masked import Kept

M = TypeVar("M", bound=nn.Module)
FORM = "give a network of the form that was planned"


@dataclass(frozen=True, slots=True)
class Cut:
    """What stays on one axis of a tensor that had `size` places: for each of the groups that axis 0 divides into
    evenly, the places that stay; one group for an axis that all rows share."""

    parameter: str
    axis: int
    size: int
    keep: tuple[tuple[int, ...], ...]


Cuts = Mapping[str, tuple[Cut, ...]]
"""Cuts of every tensor that loses something, by its name."""


def cuts_of(spec: ChannelSpec, kept: Kept) -> dict[str, tuple[Cut, ...]]:
    """The cuts of all tensors with a channel that goes. kept (channels,)."""
    found: dict[str, list[Cut]] = {}
    flags = np.append(kept, True)  # places of no channel have the number -1
    for slot in spec.slots:
        stay = flags[slot.channels]
        rows = tuple(tuple(np.flatnonzero(row).tolist()) for row in stay)
        found.setdefault(slot.parameter, []).append(Cut(slot.parameter, slot.axis, stay.shape[1], rows))
    return {
        name: tuple(sorted(cuts, key=lambda cut: cut.axis))
        for name, cuts in found.items()
        if any(len(row) < cut.size for cut in cuts for row in cut.keep)
    }


def cut_tensor(tensor: Tensor, cuts: Sequence[Cut]) -> Tensor:
    """A copy of a tensor without what its cuts leave out."""
    rows = next(
        (cut.keep[0] for cut in cuts if cut.axis == 0), tuple(range(len(tensor) if tensor.ndim else 0))
    )
    groups = [cut for cut in cuts if len(cut.keep) > 1]
    found = tensor
    for cut in cuts:
        if len(cut.keep) == 1:
            found = found.index_select(cut.axis, torch.tensor(cut.keep[0], device=tensor.device))
    for cut in groups:
        index = torch.from_numpy(_by_row(cut, rows, len(tensor))).to(tensor.device)
        shape = [1] * found.ndim
        shape[0], shape[cut.axis] = index.shape
        found = found.take_along_dim(index.reshape(shape), cut.axis)
    return found.clone() if found is tensor else found


def _by_row(cut: Cut, rows: Sequence[int], before: int) -> Numbers:
    """Which places stay on an axis, for each row of axis 0 that stays."""
    share = before // len(cut.keep)
    stay = [cut.keep[row // share] for row in rows]
    if len({len(places) for places in stay}) > 1:
        raise NasplatError(
            f"the groups of {cut.parameter!r} would keep different numbers of channels; keep equally many in each"
        )
    return np.array(stay, dtype=np.int64).reshape(len(stay), -1)


def cut_module(module: M, cuts: Cuts, attributes: Mapping[str, Mapping[str, Any]]) -> M:
    """A copy of a module with smaller tensors, sizes of its layers set; what is not cut is copied as it is.

    attributes: by name of a submodule ("" for the module itself), what is set on it. NasplatError: a tensor that is
    not there or of another size; the module is left as it was in any case.
    """
    state: dict[int, Tensor] = {}
    named = dict(module.state_dict(keep_vars=True))
    for name, of_tensor in cuts.items():
        tensor = named.get(name)
        _check(name, tensor, of_tensor, type(module).__name__)
        assert tensor is not None
        with torch.no_grad():
            smaller = cut_tensor(tensor, of_tensor)
        state[id(tensor)] = (
            nn.Parameter(smaller, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else smaller
        )
    parts = dict(module.named_modules(remove_duplicate=False))
    if unknown := attributes.keys() - parts.keys():
        raise NasplatError(
            f"the plan sets sizes of {min(unknown)!r}, which this {type(module).__name__} has not: {FORM}"
        )
    result = copied(module, state)
    for name, values in attributes.items():
        for attribute, value in values.items():
            setattr(result.get_submodule(name), attribute, tuple(value) if isinstance(value, list) else value)
    return result


def copied(module: M, instead: Mapping[int, Tensor] | None = None) -> M:
    """A copy of a module; instead: tensors that stand in it for others, by the identity of those. NasplatError: what it
    holds cannot be copied."""
    try:
        return copy.deepcopy(module, dict(instead or {}))
    except Exception as error:  # locks, open files, tensors of a gradient's graph
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NasplatError(
            f"{type(module).__name__} cannot be copied: {reason}; remove what is no module, parameter or value"
        ) from error


def _check(name: str, tensor: Tensor | None, cuts: Sequence[Cut], owner: str) -> None:
    """NasplatError: a tensor that a plan was not made for."""
    for cut in cuts:
        size = -1 if tensor is None or tensor.ndim <= cut.axis else tensor.shape[cut.axis]
        if size != cut.size:
            found = f"no {name!r}" if tensor is None else f"{name!r} of shape {tuple(tensor.shape)}"
            raise NasplatError(
                f"the plan is for a network whose {name!r} has {cut.size} places on axis {cut.axis}; this {owner} has "
                f"{found}: {FORM}"
            )
