"""From an order to a plan: what is loaded, what is scored, and a latency that a second measurement confirms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nasplat.data import Dataset, derived_seed, load_data, predict, random_inputs
from nasplat.errors import InvalidStudy
from nasplat.measure import pick_device
from nasplat.prune import Plan, plan_pruning
from nasplat.prune.meta import Pruner
from nasplat.study.pruning.figures import clock
from nasplat.study.pruning.finetune import losses
from nasplat.study.pruning.model import Subject, load_subject
from nasplat.study.pruning.order import PruneOrder

ATTEMPTS = 4
"""Plans that are measured again before a latency is called out of reach."""

SAMPLES = 64
"""Random inputs that stand for data where there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """An order with everything that it names loaded and checked. example (batch, ...): what is timed at once."""

    order: PruneOrder
    subject: Subject
    data: Dataset | None
    example: Tensor
    metanet: Pruner | None

    @property
    def device(self) -> str:
        """Where everything is trained and measured."""
        return self.order.settings.device

    @property
    def samples(self) -> Tensor:
        """Inputs (n, ...) that an export is verified on: the validation split, or random ones."""
        if self.data is not None:
            return self.data.validation.inputs
        assert self.order.shape is not None
        return random_inputs(SAMPLES, self.order.shape)


def prepare(order: PruneOrder) -> Work:
    """Load what an order names. Raises in one line for what is missing or does not fit together."""
    pick_device(order.settings.device)
    metanet = None if order.metanet is None else Pruner.load(order.metanet, Path())
    subject = load_subject(order.model, order.weights, order.settings.seed)
    data = None if order.data is None else load_data(order.data, base=Path(), **order.arguments)
    example = _example(order, data)
    if data is not None:
        _check_classes(subject, data)
    return Work(order, subject, data, example, metanet)


def _example(order: PruneOrder, data: Dataset | None) -> Tensor:
    if data is None:
        assert order.shape is not None
        return random_inputs(order.batch, order.shape)
    inputs = data.train.inputs
    repeats = -(-order.batch // len(inputs))
    return inputs[: order.batch].repeat(repeats, *[1] * (inputs.ndim - 1))[: order.batch]


def _check_classes(subject: Subject, data: Dataset) -> None:
    """The network must run on the data, and know its classes."""
    try:
        outputs = predict(subject.module, data.train.inputs[:2])
    except Exception as error:  # whatever a network raises on inputs that are not for it
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InvalidStudy(
            f"{subject.source} does not take the inputs {data.input_shape} of {data.name}: {reason}"
        ) from error
    if data.classes is not None and (outputs.ndim < 2 or outputs.shape[1] < data.classes):
        raise InvalidStudy(
            f"{subject.source} gives {tuple(outputs.shape[1:])} outputs, {data.name} has {data.classes} classes: "
            "give the data that it was trained on"
        )


def make_plan(work: Work, module: nn.Module) -> tuple[Plan, nn.Module]:
    """The plan of a network, which may be the subject rewritten, and the smaller network."""
    order, target = work.order, dict(work.order.target)
    plan, small = _planned(work, module, target)
    limit = target.get("max_latency")
    for _ in range(ATTEMPTS - 1):
        if limit is None:
            break
        found = clock(small, work.example, work.device).median_ms
        if found <= limit:
            break
        target["max_latency"] *= 0.99 * limit / found
        plan, small = _planned(work, module, target)
    if order.metanet is not None and order.finetuning.before is None:
        plan = replace(plan, score=f"metanetwork {order.metanet}")
    return plan, small


def _planned(work: Work, module: nn.Module, target: dict[str, Any]) -> tuple[Plan, nn.Module]:
    order = work.order
    scores = work.metanet is not None and order.finetuning.before is None
    seed = derived_seed(order.settings.seed, 0)
    loss = None if work.data is None else losses(work.data, order.finetuning.batch_size, seed)
    score: Any = work.metanet if scores else order.score or "l2"
    plan = plan_pruning(module, work.example, score, loss=loss, settings=order.settings, **target)
    return plan, plan.apply(module)
