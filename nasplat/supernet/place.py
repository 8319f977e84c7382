"""Where and in which precision a training runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from nasplat.elastic.weights.streaming import StreamedCrop
from nasplat.measure import pick_device
from nasplat.supernet.recipe import Settings

Said = TypeVar("Said", Tensor, Tensor | None)
Forward = Callable[[Tensor, Any], Tensor]
"""(inputs (n, ...), architecture, hard or soft) -> outputs."""


@dataclass(frozen=True, slots=True)
class Place:
    """A device, whether images are in channels_last memory on it, and whether networks run in bfloat16."""

    device: torch.device
    channels_last: bool
    bf16: bool

    def forward(self, net: Callable[[Tensor, Any], Said]) -> Callable[[Tensor, Any], Said]:
        """A network, or a teacher, as it runs here; what it says is in single precision, in which losses are taken."""
        if not self.bf16:
            return net

        def forward(inputs: Tensor, arch: Any) -> Said:
            with torch.autocast(self.device.type, torch.bfloat16):
                said = net(inputs, arch)
            return said if said is None else said.float()

        return forward

    def own_randomness(self) -> AbstractContextManager[None]:
        """Within it, seeding and drawing leave the caller's random numbers alone."""
        return torch.random.fork_rng([self.device] if self.device.type == "cuda" else [])


def find_place(settings: Settings) -> Place:
    """The place that settings name, or leave to the device. NasplatError for a device that is not there."""
    device = pick_device(settings.device)
    on_gpu = device.type == "cuda"
    channels_last = on_gpu if settings.channels_last is None else settings.channels_last
    return Place(device, channels_last, on_gpu if settings.bf16 is None else settings.bf16)


def device_of(net: nn.Module) -> torch.device:
    """The device where the inputs of a network belong, also of one whose weights wait elsewhere until they are used."""
    for module in net.modules():
        if isinstance(module, StreamedCrop):
            return module.here.device
    return next(net.parameters()).device


def bring(net: nn.Module, place: Place) -> None:
    """Bring a network to its place, ready to train."""
    net.to(place.device).train()
    net.zero_grad()
    if place.channels_last:
        _turn_channels_last(net)
    if place.device.type == "cuda":
        torch.backends.cudnn.benchmark = False  # every new width would be timed anew


def _turn_channels_last(net: nn.Module) -> None:
    """Lay out the weights of 2-d convolutions channels_last; `Module.to` would refuse a network with 3-d ones."""
    for parameter in net.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
