"""Teachers that are taken from the supernet itself while it is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nasplat.data import Split, generator, take
from nasplat.elastic import extract, recalibrate
from nasplat.errors import TrainingError
from nasplat.space import Space

CALIBRATION = 4  # what a seed is derived for, beside those of the loop


class FrozenLargest:
    """The largest network as it was when it was captured, in eval mode (Once-for-All, arXiv:1908.09791).

    Put a `Capture` of it into the `on_enter` of the phase that it begins to teach in. It is kept in checkpoints, and
    brought back as a network that the space builds, so the space must be elastic.

    calibration: batches of training inputs, on any device, for the statistics of its batch norms: those of the
    supernet lag behind its weights, and masked training keeps none. Without them it has the supernet's.
    """

    def __init__(self, space: Space, calibration: Sequence[Tensor] = ()) -> None:
        self.space, self.calibration = space, calibration
        self._module: nn.Module | None = None

    def __call__(self, inputs: Tensor, outputs: Tensor | None) -> Tensor | None:
        if self._module is None:
            raise TrainingError("the frozen teacher was never captured: put Capture(teacher) into on_enter")
        with torch.no_grad():
            taught: Tensor = self._module(inputs)
        return taught

    def capture(self, net: nn.Module) -> None:
        """Take the largest subnet of a supernet as it is now; the supernet stays as it is."""
        training = net.training
        module = extract(net.eval(), self.space.largest()).requires_grad_(False)
        net.train(training)
        if self.calibration:
            device = next(iter(module.state_dict().values())).device
            recalibrate(module, (batch.to(device) for batch in self.calibration))
        self._module = module.eval()

    def state(self) -> dict[str, Tensor]:
        """The tensors of the network; none before it was captured."""
        return {} if self._module is None else dict(self._module.state_dict())

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """The network of a state, where its tensors are."""
        module = self.space.build(self.space.largest())
        module.load_state_dict(dict(state))
        device = next(iter(state.values())).device
        self._module = module.to(device).eval().requires_grad_(False)


def calibration_batches(train: Split, seed: int, *, size: int = 64, most: int = 8) -> list[Tensor]:
    """The inputs of at most `most` full batches of a training split, the same for the same seed.

    A split that is smaller than a batch is one batch.
    """
    size = min(size, len(train))
    order = torch.randperm(len(train), generator=generator(seed, CALIBRATION))
    number = min(most, len(train) // size)
    return [take(train, indices)[0] for indices in torch.split(order[: number * size], size)]


@dataclass(frozen=True, slots=True)
class Capture:
    """Let a teacher take the largest network when a phase begins, unless an earlier phase has done so."""

    teacher: FrozenLargest

    @property
    def exact(self) -> bool:
        """The supernet is only looked at."""
        return True

    def __call__(self, net: nn.Module, optimiser: Optimizer) -> None:
        if not self.teacher.state():
            self.teacher.capture(net)
