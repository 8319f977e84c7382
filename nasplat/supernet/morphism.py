"""Morphisms: what edits a supernet, and its optimiser's state along with it, when a phase begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nasplat.elastic import ElasticSpace
from nasplat.elastic.groups import ChannelGroup, channel_groups
from nasplat.elastic.sizes import Dimension, assignments
from nasplat.errors import TrainingError
from nasplat.space import Space
from nasplat.supernet.place import device_of


@dataclass(frozen=True, slots=True)
class SortChannels:
    """Important channels first, so that narrower subnets start with them (Once-for-All, arXiv:1908.09791).

    The importance of a channel is the L1 norm of the weights that read it. Rows, columns, norms with their statistics,
    and the optimiser's averages move together. Channels stay within the bands between widths of the space
    `trained`: its architectures, not only the largest, compute what they did before.
    TrainingError for a network that comes out changed, since only its own code knows some of its channels.
    """

    trained: Space

    @property
    def exact(self) -> bool:
        """Nothing changes but the order of sums."""
        return True

    def __call__(self, net: nn.Module, optimiser: Optimizer) -> None:
        before = _outputs(net, self.trained)
        for group in channel_groups(net):
            order = channel_order(group, widths(group.dimension, self.trained))
            permute(group, order, optimiser)
        _refuse_changes(before, _outputs(net, self.trained), self.trained.name)


def widths(dimension: Dimension, space: Space) -> list[int]:
    """The sizes of a dimension in the architectures of a space, rising, the largest included."""
    met = assignments(dimension.choices, space.choices)
    return sorted({dimension(values) for values in met} | {dimension.maximum})


def channel_order(group: ChannelGroup, bands: Sequence[int]) -> Tensor:
    """The channels (maximum,) of a group by falling importance within each band; its units stay whole.

    bands: rising ends of the bands, the last the maximum.
    """
    with torch.no_grad():
        first, *others = [_sums(reader.tensor.abs(), reader.axis) for reader in group.readers]
        columns = [first, *(column.to(first.device) for column in others)]  # some may be of streamed weights
        importance = torch.stack(columns).sum(0).reshape(-1, group.unit).sum(1)
    starts = [0, *(end // group.unit for end in bands)]
    orders = [
        start + importance[start:end].argsort(descending=True, stable=True) for start, end in pairwise(starts)
    ]
    units = torch.cat(orders)[:, None] * group.unit
    return (units + torch.arange(group.unit, device=units.device)).flatten()


@torch.no_grad()
def permute(group: ChannelGroup, order: Tensor, optimiser: Optimizer) -> None:
    """Put the channels of a group in an order, in weights, statistics and the optimiser's state."""
    for place in group.axes:
        state = optimiser.state.get(place.tensor, {}).values()
        like = [value for value in state if isinstance(value, Tensor) and value.shape == place.tensor.shape]
        for tensor in (place.tensor, *like):
            tensor.copy_(tensor.index_select(place.axis, order.to(tensor.device)))


def _sums(tensor: Tensor, axis: int) -> Tensor:
    return tensor.movedim(axis, 0).flatten(1).sum(1)


@torch.no_grad()
def _outputs(net: nn.Module, space: Space) -> Tensor | None:
    """What the largest network says of two random inputs; None where the space does not know their shape."""
    if space.input_shape is None:
        return None
    shape, rng, training = (2, *space.input_shape), torch.Generator().manual_seed(0), net.training
    like, device = next(net.parameters()), device_of(net)
    tokens = space.vocabulary if isinstance(space, ElasticSpace) else None
    inputs = (
        torch.randn(shape, generator=rng).to(like.dtype)
        if tokens is None
        else torch.randint(tokens, shape, generator=rng)
    )
    outputs: Tensor = net.eval()(inputs.to(device), space.largest())
    net.train(training)
    return outputs


def _refuse_changes(before: Tensor | None, after: Tensor | None, name: str) -> None:
    """Raise TrainingError unless outputs are alike; what is wrong changes them by much more than the order of sums."""
    if before is not None and after is not None and (after - before).abs().max() > 0.02 * before.abs().max():
        raise TrainingError(
            f"sorting its channels changes the largest network of {name}: it has weights for single channels outside "
            "elastic layers, or mixes channels; train without sorting (sort = false)"
        )
