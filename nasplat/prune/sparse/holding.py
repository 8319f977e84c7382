"""Masks that hold while a network is trained."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from nasplat.errors import NasplatError, expected_one_of


class HeldMasks:
    """Masked weights of a module stay zero until `remove()`, or the end of a `with` block, whatever trains it.

    Their gradients are zero before any step and before clipping; after every step of any torch.optim optimiser they
    are set to zero again, since momentum, weight averages and Adam move weights without a gradient. What writes
    weights in other ways, such as `load_state_dict`, is put right at the next step. Modules may move between devices.
    """

    def __init__(self, module: nn.Module, masks: Mapping[str, Tensor]) -> None:
        _check(module, masks)
        self._module = module
        self._removed = {name: ~mask for name, mask in masks.items()}
        self._mask_weights()
        self._handles = [
            module.get_parameter(name).register_post_accumulate_grad_hook(self._gradient_hook(name))
            for name in masks
            if module.get_parameter(name).requires_grad
        ]
        self._handles.append(register_optimizer_step_post_hook(lambda *_: self._mask_weights()))

    def remove(self) -> None:
        """Let go; weights that are zero stay so until something moves them."""
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @torch.no_grad()
    def _mask_weights(self) -> None:
        for name in self._removed:
            weight = self._module.get_parameter(name)
            weight.masked_fill_(self._of(name, weight), 0)

    def _gradient_hook(self, name: str) -> Any:
        @torch.no_grad()
        def hook(weight: Tensor) -> None:
            if weight.grad is not None:
                weight.grad.masked_fill_(self._of(name, weight), 0)

        return hook

    def _of(self, name: str, weight: Tensor) -> Tensor:
        """Which weights are removed, where the tensor lies now."""
        if self._removed[name].device != weight.device:
            self._removed[name] = self._removed[name].to(weight.device)
        return self._removed[name]


def hold_masks(module: nn.Module, masks: Mapping[str, Tensor]) -> HeldMasks:
    """Hold masks, by parameter and True where a weight stays, such as those that `MaskPlan.masks` gives.

    NasplatError for masks that are not of this module, before anything is changed.
    """
    return HeldMasks(module, masks)


def _check(module: nn.Module, masks: Mapping[str, Tensor]) -> None:
    parameters = dict(module.named_parameters(remove_duplicate=False))
    for name, mask in masks.items():
        if name not in parameters:
            raise NasplatError(f"a mask is for {name!r}: {expected_one_of(name, parameters)}")
        if mask.dtype != torch.bool or mask.shape != parameters[name].shape:
            raise NasplatError(
                f"the mask of {name} is {mask.dtype} {tuple(mask.shape)}: "
                f"expected torch.bool {tuple(parameters[name].shape)}"
            )
