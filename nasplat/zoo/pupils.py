"""What each classifier of a zoo gets to see: examples, labels of which some are wrong, and their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from nasplat.data import Dataset, Split, generator
from nasplat.zoo.recipe import LABELS, ORDER

if TYPE_CHECKING:
    from nasplat.zoo.classifiers import Job


@dataclass(frozen=True, slots=True, eq=False)
class Pupil:
    """What one network sees: which training examples (s,), labels of all of them (n,), some wrong, and the order of
    examples in its batches (steps, batch size), one pass after the other."""

    examples: Tensor
    labels: Tensor
    order: Tensor

    @classmethod
    def of(cls, job: Job, k: int, data: Dataset) -> Pupil:
        """Drawn for network k of a job by the zoo's seed and the network's number."""
        recipe, seed, number = job.recipes[k], job.settings.seed, job.numbers[k]
        n, needed = len(data.train), recipe.steps * job.settings.batch_size
        source = generator(seed, ORDER, number)
        examples = torch.randperm(n, generator=source)[: max(2, round(recipe.train_fraction * n))]
        passes = [torch.randperm(len(examples), generator=source) for _ in range(-(-needed // len(examples)))]
        order = examples[torch.cat(passes)[:needed]].view(recipe.steps, -1)
        source = generator(seed, LABELS, number)
        wrong = torch.rand(n, generator=source) < recipe.label_noise
        drawn = torch.randint(data.classes or 0, (n,), generator=source)
        return cls(examples, torch.where(wrong, drawn, data.train.targets.cpu()), order)

    def to(self, device: torch.device) -> Pupil:
        """The same on a device."""
        return Pupil(self.examples.to(device), self.labels.to(device), self.order.to(device))


def on_device(data: Dataset, device: torch.device) -> Dataset:
    """The three splits on a device."""
    return replace(data, **{name: getattr(data, name).to(device) for name in ("train", "validation", "test")})


def batches(pupils: Sequence[Pupil], split: Split) -> Callable[[int, int], tuple[Tensor, Tensor]]:
    """(step, k) -> inputs (k, b, c, h, w) and labels (k, b) of the first k pupils."""
    orders = pad_sequence([p.order for p in pupils])  # (most steps, m, b)
    labels = torch.stack([p.labels for p in pupils])

    def batch(step: int, k: int) -> tuple[Tensor, Tensor]:
        which = orders[step, :k]
        return split.inputs[which], labels[:k].gather(1, which)

    return batch
