"""The batches of a training, each a function of seed and step: a resumed training sees what it would have seen."""

from __future__ import annotations

import torch
from torch import Tensor

from nasplat.data import Dataset, generator, packed, take

ORDER, AUGMENT, JUDGE = 0, 1, 5  # what a seed is derived for


class Feed:
    """Augmented batches of the training split on a device; the order of an epoch depends on (seed, epoch).

    The last incomplete batch of an epoch is left out; a split that is smaller than a batch is one batch.
    """

    def __init__(
        self, data: Dataset, batch_size: int, seed: int, device: torch.device, channels_last: bool = False
    ) -> None:
        self.judging = data.validation
        self.split, self.augment = data.train.to(device), data.augment
        self.size = min(batch_size, len(self.split))
        self.steps_per_epoch = len(self.split) // self.size
        self.seed, self.device, self.channels_last = seed, device, channels_last
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets (batch_size, ...) of a step, from 0."""
        epoch, k = divmod(step, self.steps_per_epoch)
        indices = self._epoch(epoch)[k * self.size : (k + 1) * self.size]
        inputs, targets = take(self.split, indices, self.device)
        if self.augment is not None:
            inputs = self.augment(inputs, generator(self.seed, AUGMENT, step))
        return packed(inputs, self.channels_last), targets

    def validation(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets (at most batch_size, ...) of the validation split, drawn for a step."""
        n = len(self.judging)
        indices = torch.randperm(n, generator=generator(self.seed, JUDGE, step))[: self.size]
        inputs, targets = take(self.judging, indices, self.device)
        return packed(inputs, self.channels_last), targets

    def _epoch(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            order = torch.randperm(len(self.split), generator=generator(self.seed, ORDER, epoch))
            self._order = (epoch, order)
        return self._order[1]
