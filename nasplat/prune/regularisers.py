"""What makes channels small while a network trains: terms that are added to gradients, in any training loop.

with GroupSparsity(5e-4).on(module, spec):
    train(module)

The terms are numbers added after each backward pass to the gradients of the parameters that it reached, before clipping
and the optimiser. A loop that scales its losses must scale `strength` alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn

from nasplat.channels import ChannelSpec
from nasplat.channels.permutation import channels
from nasplat.prune.group_norms import elements_of, factors, norms, placed, weighted
from nasplat.prune.masked import Kept, checked_kept

Pull: TypeAlias = Callable[[Mapping[str, Tensor], int], dict[str, Tensor]]
"""From tensors by name and the number of backward passes before, what is added to gradients, by name."""


class Regulariser(Protocol):
    """How channels of a spec are pulled towards zero."""

    def pull(self, spec: ChannelSpec) -> Pull:
        """The term for networks of this form."""
        ...

    def on(self, module: nn.Module, spec: ChannelSpec) -> AbstractContextManager[None]:
        """Active inside the block."""
        ...


@contextmanager
def attached(pull: Pull, module: nn.Module) -> Iterator[None]:
    """Inside the block, every backward pass adds this term to the gradients that it gives."""
    named = dict(module.named_parameters())
    due: dict[str, Tensor] = {}
    served: set[str] = set()
    passes = 0

    def add(name: str, parameter: Tensor) -> None:
        nonlocal due, passes
        if not served or name in served:  # the first gradient of a backward pass
            due = pull({key: p.detach() for key, p in named.items()}, passes)
            passes += 1
            served.clear()
        served.add(name)
        if name in due and parameter.grad is not None:
            parameter.grad.add_(due[name])

    hooks = [
        parameter.register_post_accumulate_grad_hook(partial(add, name))
        for name, parameter in named.items()
        if parameter.requires_grad
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True, slots=True)
class ScaleL1:
    """Network slimming (arXiv:1708.06519): strength * sign(gamma) for scales of norms on hidden channels.

    spare: glob patterns of spaces that are left alone.
    """

    strength: float = 1e-4
    spare: tuple[str, ...] = ()

    def pull(self, spec: ChannelSpec) -> Pull:
        """The term for networks of this form."""
        hidden = _of_spaces(spec, self.spare) >= 0
        slots = placed(spec, ("scale",))

        def term(tensors: Mapping[str, Tensor], passes: int) -> dict[str, Tensor]:
            touched = elements_of(tensors, slots, hidden)
            return {
                name: self.strength * tensors[name].detach().sign() * own for name, own in touched.items()
            }

        return term

    def on(self, module: nn.Module, spec: ChannelSpec) -> AbstractContextManager[None]:
        """Active inside the block."""
        return attached(self.pull(spec), module)


@dataclass(frozen=True, slots=True)
class GroupSparsity:
    """DepGraph (arXiv:2301.12900): strength * gamma_c * w for every weight and scale w of a hidden channel c.

    gamma_c = alpha^((I_max - I_c) / (I_max - I_min)) with I the group norms of the channels of one
    space: 1 for its largest channel, alpha for its smallest. A weight between two channels has both terms.
    spare: glob patterns of spaces that are left alone.
    """

    strength: float = 5e-4
    alpha: float = 16.0
    spare: tuple[str, ...] = ()

    def pull(self, spec: ChannelSpec) -> Pull:
        """The term for networks of this form."""
        spaces = _of_spaces(spec, self.spare)
        slots = placed(spec, ("weight", "scale"))

        @torch.no_grad()
        def term(tensors: Mapping[str, Tensor], passes: int) -> dict[str, Tensor]:
            sizes = norms(tensors, slots, len(spaces))
            pulls = self.strength * factors(sizes, spaces.to(sizes.device), self.alpha)
            return weighted(tensors, slots, pulls)

        return term

    def on(self, module: nn.Module, spec: ChannelSpec) -> AbstractContextManager[None]:
        """Active inside the block."""
        return attached(self.pull(spec), module)


@dataclass(frozen=True, slots=True, eq=False)
class Growing:
    """GReg-1 (arXiv:2012.09243): lambda * w on the channels that are to go, `kept` (channels,) says which, where lambda
    grows by `step` every `every` backward passes, up to `ceiling`: they fade, and the others learn to do without.
    """

    kept: Kept
    step: float = 1e-4
    every: int = 10
    ceiling: float = 1.0

    def pull(self, spec: ChannelSpec) -> Pull:
        """The term for networks of this form. NasplatError: `kept` has not its channels."""
        gone = torch.from_numpy(~checked_kept(spec, self.kept))
        gone = torch.cat((gone, torch.zeros(1, dtype=torch.bool)))
        slots = placed(spec, ("weight", "scale"))

        def term(tensors: Mapping[str, Tensor], passes: int) -> dict[str, Tensor]:
            size = min(self.ceiling, self.step * (passes // self.every))
            touched = elements_of(tensors, slots, gone)
            return {name: size * tensors[name].detach() * own for name, own in touched.items()}

        return term

    def on(self, module: nn.Module, spec: ChannelSpec) -> AbstractContextManager[None]:
        """Active inside the block."""
        return attached(self.pull(spec), module)


def gradients(tensors: Mapping[str, Tensor], spec: ChannelSpec, alpha: float = 16.0) -> dict[str, Tensor]:
    """gamma_c * w of `GroupSparsity` for tensors that are not a module's, by name: numbers without a graph."""
    return GroupSparsity(1.0, alpha).pull(spec)(tensors, 0)


def _of_spaces(spec: ChannelSpec, spare: tuple[str, ...]) -> Tensor:
    """The number of every channel's space, (channels + 1,); -1 for those that are left alone."""
    found = torch.full((channels(spec) + 1,), -1)
    for number, space in enumerate(spec.spaces):
        if space.kind == "hidden" and not any(fnmatchcase(space.name, pattern) for pattern in spare):
            found[space.start : space.stop] = number
    return found
