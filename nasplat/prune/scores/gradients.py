"""Losses of batches and their gradients, for scores that look at data."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nasplat.channels import Slot
from nasplat.errors import NasplatError
from nasplat.prune.scores.evidence import Evidence
from nasplat.prune.scores.members import member_slots


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """Parameters by name, and the gradient of the loss of one batch; zeros for those that it does not reach."""

    weights: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]


def trained_slots(evidence: Evidence, kinds: Sequence[str]) -> tuple[Slot, ...]:
    """Members of these kinds that are parameters: buffers have no gradient."""
    names = {name for name, p in evidence.module.named_parameters() if p.is_floating_point()}
    return tuple(slot for slot in member_slots(evidence.spec, kinds) if slot.parameter in names)


def slopes(evidence: Evidence, score: str, *, twice: bool = False) -> Iterator[Slopes]:
    """For every batch the gradients of a copy in evaluation mode, all parameters of which take gradients.

    twice: the gradients may be differentiated again. NasplatError: no `loss`, no batch, or a loss that is no
    differentiable number.
    """
    if evidence.loss is None:
        raise NasplatError(
            f"the score {score!r} looks at data; give `loss`, a function of the module that yields each batch's loss"
        )
    batches = 0
    with torch.inference_mode(False), torch.enable_grad():
        module = copy.deepcopy(evidence.module).eval()
        named = {name: p.requires_grad_() for name, p in module.named_parameters() if p.is_floating_point()}
        for loss in evidence.loss(module):
            found = torch.autograd.grad(
                checked(loss),
                list(named.values()),
                create_graph=twice,
                allow_unused=True,
                materialize_grads=True,
            )
            yield Slopes(named, dict(zip(named, found, strict=True)))
            batches += 1
    if not batches:
        raise NasplatError(
            f"the score {score!r} looks at data, and `loss` yielded no batch; give at least one"
        )


def checked(loss: Tensor) -> Tensor:
    """The loss as a scalar. NasplatError: it is none, or cannot be differentiated."""
    if loss.numel() != 1 or not loss.requires_grad:
        raise NasplatError(
            f"the loss came as shape {tuple(loss.shape)}, requires_grad={loss.requires_grad}; "
            "yield one differentiable number for each batch"
        )
    return loss.sum()
