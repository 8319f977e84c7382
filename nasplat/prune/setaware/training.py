"""Training a set-aware metanetwork, epoch by epoch; it can stop at any time and goes on where it stopped."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasplat.data.seeds import generator
from nasplat.errors import NasplatError, TrainingError
from nasplat.files import json_hash, write_atomic
from nasplat.prune.meta.checkpoint import optimizer_tensors, restore_optimizer
from nasplat.prune.setaware.lessons import Lesson, batches
from nasplat.prune.setaware.network import Body, SetAwareNetwork
from nasplat.prune.setaware.objective import correlations, pairs, regression

FILE = "training.safetensors"


@dataclass(frozen=True, slots=True)
class Fitting:
    """AdamW; its rate rises for a twentieth of the steps and falls to zero along a cosine; gradients clipped to norm 1.

    batch: masks of one network. order: weight of the order within a mask beside the rises themselves.
    """

    epochs: int = 30
    batch: int = 8
    rate: float = 2e-3
    decay: float = 1e-2
    order: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch, counted from 1. loss: over training masks; value: the mean rank correlation over masks of the networks
    that are held out, which chooses the epoch; seconds: in all, up to here."""

    number: int
    loss: float
    value: float
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """The metanetwork as it was in its best epoch, in evaluation mode, and all epochs."""

    network: SetAwareNetwork
    epochs: tuple[Epoch, ...]

    @property
    def chosen(self) -> Epoch:
        """The first of the best epochs."""
        return max(self.epochs, key=lambda epoch: (epoch.value, -epoch.number))


def fit(
    body: Body,
    lessons: Sequence[Lesson],
    held_out: Sequence[Lesson],
    fitting: Fitting,
    folder: Path | None = None,
    told: Callable[[Epoch], None] | None = None,
    start: SetAwareNetwork | None = None,
) -> Fitted:
    """Train on the masks of some networks; those of others choose the epoch.

    folder: where the state is kept after every epoch; a training of the same form goes on from there, to the same end
    as one that was never stopped. told: called after every epoch. start: a metanetwork of that form to go on from.
    TrainingError: the loss is not finite.
    """
    if not lessons or not held_out:
        raise NasplatError(
            f"{len(lessons)} networks to learn from and {len(held_out)} held out; give one of each at least"
        )
    run = _Run(body, lessons, fitting)
    if start is not None:
        run.network.load_state_dict(start.state_dict())
    path = None if folder is None else folder / FILE
    digest = json_hash(
        [body.as_json(), asdict(fitting), *map(_print, [*lessons, *held_out]), _sum(run.network)]
    )
    if path is not None and path.exists():
        run.restore(path, digest)
    while len(run.epochs) < fitting.epochs:
        began = time.perf_counter()
        loss = run.epoch()
        value = judged(run.network, held_out)
        run.ended(loss, value, time.perf_counter() - began)
        if path is not None:
            run.save(path, digest)
        if told is not None:
            told(run.epochs[-1])
    run.network.load_state_dict(run.best)
    return Fitted(run.network.eval(), tuple(run.epochs))


@torch.no_grad()
def judged(network: SetAwareNetwork, lessons: Sequence[Lesson]) -> float:
    """The mean rank correlation of predicted and measured rises over masks."""
    network.eval()
    found = [
        correlations(lesson.predicted(network, rows), lesson.masks.rises[rows])
        for lesson, rows in batches(lessons, 32)
    ]
    return float(torch.cat(found).mean())


class _Run:
    """A training between two epochs."""

    def __init__(self, body: Body, lessons: Sequence[Lesson], fitting: Fitting) -> None:
        self.lessons, self.fitting = lessons, fitting
        self.steps = sum(-(-len(lesson.masks) // fitting.batch) for lesson in lessons)  # of an epoch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(fitting.seed)
            self.network = SetAwareNetwork(body)
        rises = torch.cat([lesson.masks.rises.flatten() for lesson in lessons])
        self.network.learn((lesson.model.graph for lesson in lessons), rises[rises.isfinite()])
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), fitting.rate, weight_decay=fitting.decay
        )
        self.epochs: list[Epoch] = []
        self.best: dict[str, Tensor] = {}

    def epoch(self) -> float:
        """One round over all masks; its mean loss."""
        self.network.train()
        number, total = len(self.epochs), 0.0
        order = generator(self.fitting.seed, number)
        for step, (lesson, rows) in enumerate(batches(self.lessons, self.fitting.batch, order)):
            for group in self.optimizer.param_groups:
                group["lr"] = self.fitting.rate * self._share(number * self.steps + step)
            self.optimizer.zero_grad()
            predicted = lesson.predicted(self.network, rows)
            wanted = self.network.targets(lesson.masks.rises[rows])
            loss = regression(predicted, wanted) + self.fitting.order * pairs(predicted, wanted)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            total += float(loss.detach())
        if not math.isfinite(total):
            raise TrainingError(f"epoch {number + 1} has a loss of {total}; lower the rate")
        return total / self.steps

    def ended(self, loss: float, value: float, seconds: float) -> None:
        """Write an epoch down."""
        before = self.epochs[-1].seconds if self.epochs else 0.0
        if not self.epochs or value > max(epoch.value for epoch in self.epochs):
            self.best = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.epochs.append(Epoch(len(self.epochs) + 1, loss, value, round(before + seconds, 2)))

    def save(self, path: Path, digest: str) -> None:
        """Everything that the next epoch depends on, in one file."""
        from safetensors.torch import save

        parts = {
            "net": self.network.state_dict(),
            "best": self.best,
            "optimizer": optimizer_tensors(self.optimizer),
        }
        tensors = {
            f"{p}/{n}": t.detach().clone().contiguous() for p, part in parts.items() for n, t in part.items()
        }
        page = {"digest": digest, "epochs": [asdict(epoch) for epoch in self.epochs]}
        write_atomic(path, save(tensors, {"page": json.dumps(page)}))

    def restore(self, path: Path, digest: str) -> None:
        """NasplatError: a file that is damaged, or of another training."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                page: dict[str, Any] = json.loads(file.metadata()["page"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if page["digest"] != digest:
                raise ValueError("it is of other networks, masks or settings")
            parts: dict[str, dict[str, Tensor]] = {"net": {}, "best": {}, "optimizer": {}}
            for name, tensor in tensors.items():
                part, _, rest = name.partition("/")
                parts[part][rest] = tensor
            self.epochs = [Epoch(**epoch) for epoch in page["epochs"]]
            self.network.load_state_dict(parts["net"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise NasplatError(f"{path} cannot be gone on from ({error}); remove it to start anew") from error
        self.best = parts["best"]
        restore_optimizer(self.optimizer, parts["optimizer"])

    def _share(self, step: int) -> float:
        """Of the full rate, at a step of all."""
        steps = self.steps * self.fitting.epochs
        rising = max(1, steps // 20)
        if step < rising:
            return (step + 1) / rising
        return (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2


def _print(lesson: Lesson) -> list[float]:
    """What tells masks of a network from others."""
    rises = lesson.masks.rises
    return [len(lesson.masks), float(rises.nansum()), float(lesson.masks.kept.sum())]


def _sum(network: SetAwareNetwork) -> float:
    """What tells a metanetwork from others."""
    return float(sum(tensor.double().sum() for tensor in network.state_dict().values()))
