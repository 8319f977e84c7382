"""What happens between steps: a look at the losses, a word of progress, a checkpoint; never once a step.

Several processes look, save and stop at the same steps; the main one alone writes and tells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from textwrap import shorten
from time import monotonic

import torch
from torch import Tensor

from nasplat.errors import TrainingError
from nasplat.space import Arch
from nasplat.supernet.checkpoint import Checkpoint
from nasplat.supernet.recipe import Settings
from nasplat.supernet.world import World


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What a training did; all but the speed includes what it did before it was resumed.

    passes: forward and backward passes, one for each architecture of each step; those of a judge, forward only, are
    not among them. loss: mean over the architectures of the last step, which with distillation are different losses.
    first_loss: of its first architecture, by the labels where that one teaches. images_per_second: examples, each
    counted once a step.
    """

    steps: int
    epochs: int
    seconds: float
    loss: float
    passes: int
    images_per_second: float
    first_loss: float = math.nan


class Journal:
    """Keeps losses on the device and reads them once a pulse: reading waits for the device."""

    def __init__(self, settings: Settings, checkpoint: Checkpoint, steps: int, world: World) -> None:
        self.settings, self.checkpoint, self.steps, self.world = settings, checkpoint, steps, world
        self.progress = checkpoint.load(steps)
        if not world.agree(self.progress.steps):
            raise TrainingError(
                f"{checkpoint.path} is not the same file for all processes; put it where each can read it"
            )
        world.follow_main(checkpoint.net)
        self.resumed_at, self.seconds_before = self.progress.steps, self.progress.seconds
        self._unread: list[tuple[Sequence[Arch], Tensor]] = []
        self._started = self._looked = self._saved = monotonic()

    def note(self, archs: Sequence[Arch], losses: Sequence[Tensor], stop: bool) -> None:
        """Take the losses of the architectures of one more step that is done.

        To stop is to write a checkpoint, if one is kept, and to raise KeyboardInterrupt.
        """
        self.progress.steps += 1
        self.progress.passes += len(losses)
        self._unread.append((archs, torch.stack(list(losses))))
        now = monotonic()
        look = now - self._looked >= self.settings.pulse or self.progress.steps == self.steps
        save = now - self._saved >= self.settings.save_every
        look, save, stop = self.world.any(look, save, stop)
        if look:
            self._look()
        if save or stop:
            self.save()
        if stop:
            raise KeyboardInterrupt

    def save(self) -> None:
        """Write a checkpoint, if one is kept; only after losses, and of weights, that are finite."""
        self._look()
        self.checkpoint.save(self.progress, write=self.world.main)
        self.world.any(False)  # nobody goes on before the file is there
        self._saved = monotonic()

    def close(self, batch_size: int, steps_per_epoch: int) -> TrainingReport:
        """Keep the last state, and sum up."""
        done = self.progress.steps - self.resumed_at
        self.world.follow_main(self.checkpoint.net)  # the running statistics; weights are equal
        if done:
            self.save()
        seconds = self.progress.seconds - self.seconds_before
        return TrainingReport(
            steps=self.progress.steps,
            epochs=self.progress.steps // steps_per_epoch,
            seconds=self.progress.seconds,
            loss=self.progress.loss,
            passes=self.progress.passes,
            images_per_second=done * batch_size / seconds if done else 0.0,
            first_loss=self.progress.first_loss,
        )

    def _look(self) -> None:
        """Read the losses since the last look, refuse those that are not finite, report progress."""
        unread, self._unread = self._unread, []
        losses = iter(torch.cat([losses for _, losses in unread]).tolist() if unread else [])
        self._looked = monotonic()
        self.progress.seconds = self.seconds_before + self._looked - self._started
        means, firsts = [], []
        for step, (archs, _) in enumerate(unread, start=self.progress.steps - len(unread)):
            own = list(islice(losses, len(archs)))
            self._check(step, archs, own)
            means.append(sum(own) / len(own))
            firsts.append(own[0])
        if means:
            self.progress.loss, self.progress.first_loss = means[-1], firsts[-1]
            self._tell(means, firsts)

    def _tell(self, means: Sequence[float], firsts: Sequence[float]) -> None:
        """Report the losses since the last look; that of the first architectures where there are others."""
        figures = {"loss": sum(means) / len(means)}
        if means != firsts:
            figures["first"] = sum(firsts) / len(firsts)
        if self.settings.progress and self.world.main:
            self.settings.progress(self.progress.steps, self.steps, figures)

    def _check(self, step: int, archs: Sequence[Arch], losses: Sequence[float]) -> None:
        """Raise TrainingError for losses that are not finite."""
        bad = [(arch, loss) for arch, loss in zip(archs, losses, strict=True) if not math.isfinite(loss)]
        if bad:
            arch, loss = bad[0]
            values = ", ".join(f"{name}={value}" for name, value in arch.items())
            which = (
                f", in {len(bad)} of {len(archs)} architectures, first {arch.key} ({values})" if arch else ""
            )
            raise TrainingError(
                f"the loss became {loss} in step {step} of {self.steps}{shorten(which, 200, placeholder=' ...)')};"
                f" lower learning_rate, or set clip{self.checkpoint.last_good}"
            )
