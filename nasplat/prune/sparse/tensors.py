"""Which tensors of a network may lose single weights: those of convolutions, linear layers and attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


@dataclass(frozen=True, slots=True, eq=False)
class Maskable:
    """A weight tensor by its name: axis is the one of its inputs, which come in `blocks` equal runs.

    Blocks are the groups of a transposed convolution, whose inputs of all groups lie on one axis; 1 for all others.
    """

    name: str
    weight: nn.Parameter
    axis: int = 1
    blocks: int = 1

    @property
    def run(self) -> int:
        """Inputs that one output reads, one after the other."""
        return self.weight.shape[self.axis] // self.blocks


def maskable(module: nn.Module) -> list[Maskable]:
    """All weights of convolutions, linear layers and attention, a shared one once, in the order of the modules."""
    found: dict[int, Maskable] = {}
    for name, layer in module.named_modules():
        for one in _of_layer(f"{name}." if name else "", layer):
            found.setdefault(id(one.weight), one)
    return list(found.values())


def _of_layer(prefix: str, layer: nn.Module) -> Iterator[Maskable]:
    own = layer._parameters  # a parametrised or lazily made weight is none of these
    if isinstance(layer, nn.MultiheadAttention):
        names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        yield from (Maskable(prefix + n, p) for n in names if (p := own.get(n)) is not None)
    elif isinstance(layer, nn.Linear | _ConvNd) and (weight := own.get("weight")) is not None:
        if isinstance(layer, _ConvTransposeNd):
            yield Maskable(f"{prefix}weight", weight, 0, layer.groups)
        else:
            yield Maskable(f"{prefix}weight", weight)


def matches(name: str, pattern: str) -> bool:
    """Whether a glob pattern means a tensor: its own name, or that of its module."""
    return fnmatchcase(name, pattern) or fnmatchcase(name.rpartition(".")[0], pattern)


def matched(names: Sequence[str], pattern: str) -> list[str]:
    """The tensors that a pattern means."""
    return [name for name in names if matches(name, pattern)]
