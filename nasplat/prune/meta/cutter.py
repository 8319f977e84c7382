"""A rewritten network as it will be once it is pruned, without changing a shape: for gradients through the cut."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasplat.channels import ChannelSpec
from nasplat.channels.permutation import channels
from nasplat.prune.group_norms import Placed, norms, placed
from nasplat.prune.groups import Group
from nasplat.prune.masked import Kept, channel_masks
from nasplat.prune.prunable import prunable
from nasplat.prune.ranking import Widths, ranked
from nasplat.prune.reaching import reach

WIDTHS = Widths(least_share=0.05)


@dataclass(frozen=True, slots=True, eq=False)
class Cutter:
    """Which channels of a network would stay at a speed-up, by the global ranking of "l2", and what it computes then.

    module: a copy whose batch norms work by the statistics of the batch, as those of a pruned network do once they
    are recalibrated. macs: multiply-adds of what stays.
    """

    module: nn.Module
    spec: ChannelSpec
    members: Placed
    groups: Sequence[Group]
    macs: Callable[[Kept], float]
    whole: float

    def kept(self, tensors: Mapping[str, Tensor], speedup: float) -> Kept:
        """Channels that stay, (channels,), of a network with these numbers."""
        importance = norms(tensors, self.members, channels(self.spec) + 1)[:-1].double().square()
        for space in self.spec.spaces:
            own = importance[space.start : space.stop]
            own /= own.max().clamp(min=1e-12)
        order = ranked(self.spec, self.groups, importance.cpu().numpy(), "global", WIDTHS)
        left = reach(order, self.macs, self.whole / speedup, "a number of multiply-adds")
        return order.kept(left)

    def cut(self, tensors: Mapping[str, Tensor], speedup: float) -> dict[str, Tensor]:
        """Tensors with what goes at zero; gradients flow to what stays."""
        values = {name: tensor.detach() for name, tensor in tensors.items()}
        masks = channel_masks(self.spec, self.kept(values, speedup))
        return {
            name: tensor * masks[name].to(tensor) if name in masks and tensor.is_floating_point() else tensor
            for name, tensor in tensors.items()
        }


def cutter_of(module: nn.Module, example: tuple[Tensor, ...], device: torch.device | None = None) -> Cutter:
    """Trace what may go of a network where it is; `module` stays as it is. device: where the cut network computes, if
    elsewhere. NasplatError: it cannot be traced."""
    network = prunable(copy.deepcopy(module).eval(), example)
    own = copy.deepcopy(module).eval().to(device)
    for part in own.modules():
        if isinstance(part, _BatchNorm):
            part.train()
            part.track_running_stats = False  # batch statistics, and none are kept
    members = placed(network.spec, ("weight", "scale"))
    return Cutter(own, network.spec, members, network.groups, network.macs, network.macs(network.everything))


def drawn_speedup(speedups: Sequence[float], seed: int) -> float:
    """One of some speed-ups."""
    return speedups[int(torch.randint(len(speedups), (), generator=torch.Generator().manual_seed(seed)))]
