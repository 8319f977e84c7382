"""Sizes that a cut network needs: of torch's layers, of norms without weights, and of attributes of its own modules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasplat.channels import ChannelSpec
from nasplat.measure.size import evaluating
from nasplat.prune.cutting import Cuts, cut_module
from nasplat.prune.groups import Group
from nasplat.prune.sizes import sizes_of

NEAR = 2
"""How many modules around a layer are searched for sizes that they keep."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A whole number that a module keeps, such as its number of heads: `factor` times the product of what some groups
    have left."""

    module: str
    name: str
    groups: tuple[str, ...]
    factor: int = 1

    def value(self, left: Mapping[str, int]) -> int:
        """left: units that stay, by the name of the group."""
        return self.factor * math.prod(left[group] for group in self.groups)


def resized(
    module: nn.Module,
    examples: Sequence[Tensor],
    cuts: Cuts,
    attributes: Sequence[Attribute],
    left: Mapping[str, int],
) -> dict[str, dict[str, Any]]:
    """All sizes that a module needs when it is cut, by name of the submodule. Norms without weights say by running
    what they meet: what that raises passes through."""
    sizes = sizes_of(module, cuts)
    for attribute in attributes:
        sizes.setdefault(attribute.module, {})[attribute.name] = attribute.value(left)
    bare = [name for name, layer in module.named_modules() if _is_bare(layer)]
    if bare:
        for name, met in _met(cut_module(module, cuts, sizes), bare, examples).items():
            sizes.setdefault(name, {}).update(met)
    return sizes


def candidates(
    module: nn.Module, spec: ChannelSpec, group: Group, groups: Sequence[Group]
) -> Iterator[Attribute]:
    """Whole numbers near the layers of a group that are as large as it, as its blocks, or as both together."""
    sizes = {((group.name,), 1): group.size} | dict(_products(group, groups))
    for name in _around(spec, group):
        part = module.get_submodule(name)
        for attribute, value in vars(part).items():
            if type(value) is int and not type(part).__module__.startswith("torch.nn"):
                for (names, factor), size in sizes.items():
                    if size == value:
                        yield Attribute(name, attribute, names, factor)


def _products(group: Group, groups: Sequence[Group]) -> Iterator[tuple[tuple[tuple[str, ...], int], int]]:
    """Widths of a space inside of blocks, and of the blocks: what they are products of."""
    if group.kind == "tied" and len(group.rows) > len(group.parts):
        rows = len(group.rows) // len(group.parts)
        yield ((group.name,), rows), rows * group.size
        return
    for other in groups:
        if (group.kind == "blocks") == (other.kind == "blocks"):
            continue
        blocks, inside = (group, other) if group.kind == "blocks" else (other, group)
        held = np.concatenate(list(blocks.holds.values()))
        if np.isin(inside.channels, held).all():
            yield ((blocks.name, inside.name), 1), blocks.size * inside.size


def _around(spec: ChannelSpec, group: Group) -> list[str]:
    """Names of modules that hold the layers of a group, nearest first."""
    own = set(group.channels.tolist())
    found: dict[str, None] = {}
    for slot in spec.slots:
        if own.isdisjoint(slot.channels.ravel().tolist()):
            continue
        name = slot.parameter.rpartition(".")[0]
        for _ in range(NEAR + 1):
            found[name] = None
            name = name.rpartition(".")[0]
    return list(found)


def _is_bare(layer: nn.Module) -> bool:
    return isinstance(layer, nn.LayerNorm | nn.GroupNorm | nn.RMSNorm) and layer.weight is None


def _met(cut: nn.Module, names: Sequence[str], examples: Sequence[Tensor]) -> dict[str, dict[str, Any]]:
    """What norms without weights meet in a run of a cut network, which are set to it on the way."""
    met: dict[str, dict[str, Any]] = {}

    def meet(name: str) -> Any:
        def hook(layer: Any, args: tuple[Tensor, ...]) -> None:
            if isinstance(layer, nn.GroupNorm):
                layer.num_channels = args[0].shape[1]
                met[name] = {"num_channels": layer.num_channels}
            else:
                axes = len(layer.normalized_shape)
                layer.normalized_shape = tuple(args[0].shape[-axes:])
                met[name] = {"normalized_shape": list(layer.normalized_shape)}

        return hook

    hooks = [cut.get_submodule(name).register_forward_pre_hook(meet(name)) for name in names]
    try:
        with evaluating(cut), torch.no_grad():
            cut(*examples)
    finally:
        for hook in hooks:
            hook.remove()
    return met
