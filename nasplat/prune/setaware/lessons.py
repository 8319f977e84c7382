"""Masks of a network as a metanetwork reads them: batches of masked graphs with their marks and targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nasplat.channels import ChannelSpec, ParameterGraph
from nasplat.prune.masked import Kept, channel_masks
from nasplat.prune.meta.data_models import DataModel
from nasplat.prune.setaware.examples import Masks
from nasplat.prune.setaware.network import SetAwareNetwork
from nasplat.prune.setaware.units import Units


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """A network, and masks of it with rises."""

    model: DataModel
    units: Units
    masks: Masks

    @classmethod
    def of(cls, model: DataModel, masks: Masks) -> Lesson:
        return cls(model, Units.of(model.spec), masks)

    def predicted(self, network: SetAwareNetwork, rows: Tensor) -> Tensor:
        """What the metanetwork says of some masks (m,), (m, units)."""
        graph, there = masked_graph(self.model, self.masks.kept[rows].numpy())
        marks = network.marks_of(there, self.masks.features[rows])
        found: Tensor = network(graph, marks, self.units)
        return found


def masked_graph(model: DataModel, kept: Kept) -> tuple[ParameterGraph, Tensor]:
    """The graph of a network under m masks (m, channels), and which neurons are still there, (m, nodes)."""
    masks = [channel_masks(model.spec, row) for row in kept]
    tensors = {
        name: torch.stack([tensor * mask[name] for mask in masks])
        if name in masks[0]
        else tensor.expand(len(kept), *tensor.shape)
        for name, tensor in model.graph.tensors.items()
    }
    return ParameterGraph(model.graph.structure, tensors), there_of(model.spec, kept)


def there_of(spec: ChannelSpec, kept: Kept) -> Tensor:
    """Which neurons of m masks (m, channels) are still there; those of no channel always are."""
    held = np.concatenate([kept, np.ones((len(kept), 1), bool)], 1)
    return torch.from_numpy(held[:, np.where(spec.channel_of < 0, -1, spec.channel_of)])


def batches(
    lessons: Sequence[Lesson], size: int, generator: torch.Generator | None = None
) -> Iterator[tuple[Lesson, Tensor]]:
    """All masks of all lessons, at most `size` of one network at a time; in random order with a generator."""
    found: list[tuple[Lesson, Tensor]] = []
    for lesson in lessons:
        order = torch.arange(len(lesson.masks))
        if generator is not None:
            order = torch.randperm(len(order), generator=generator)
        found += [(lesson, rows) for rows in order.split(size)]
    order = torch.arange(len(found)) if generator is None else torch.randperm(len(found), generator=generator)
    yield from (found[i] for i in order.tolist())
