"""From an order to a plan: what is loaded, what is scored, and a latency that a second measurement confirms."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasplat.data import Dataset, derived_seed, load_data, predict, random_inputs
from nasplat.elastic import recalibrate
from nasplat.errors import InvalidStudy, NasplatError
from nasplat.measure import pick_device
from nasplat.prune import Plan, Target, plan_pruning
from nasplat.prune.metanets import Metanet, load_metanet
from nasplat.prune.setaware import SetAware
from nasplat.study.pruning.figures import clock
from nasplat.study.pruning.finetune import losses
from nasplat.study.pruning.metanet import rewritten, stepwise, takes_steps
from nasplat.study.pruning.model import Subject, load_subject
from nasplat.study.pruning.order import PruneOrder

ATTEMPTS = 4
"""Plans that are measured again before a latency is called out of reach."""

CALIBRATION = 512
"""Training inputs that the norms of a rewritten network see."""

TRACED = 2
"""Inputs that a network is traced and tried with."""

LEAST = 0.7
"""What a plan for less asks for at least, of the one before: a noisy measurement must not ask for everything."""

SAMPLES = 64
"""Random inputs that stand for data where there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """An order with everything that it names loaded and checked. example (batch, ...): what is timed at once."""

    order: PruneOrder
    subject: Subject
    data: Dataset | None
    example: Tensor
    metanet: Metanet | None

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
    metanet = None if order.metanet is None else load_metanet(order.metanet)
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


def start_of(work: Work) -> nn.Module:
    """The network that is planned: the subject, or what the metanetwork makes of it where it is to rewrite it."""
    if work.metanet is None or work.order.finetuning.before is None:
        return work.subject.module
    module = rewritten(work.metanet, work.subject.module, work.example)
    if work.data is not None:
        recalibrate(module, torch.split(work.data.train.inputs[:CALIBRATION], SAMPLES))
    return module


def make_plan(work: Work, module: nn.Module) -> tuple[Plan, nn.Module]:
    """The plan of a network, the subject or one like it, and the smaller network.

    A latency is measured once more of the network that was planned, and where it misses, planned anew for less.
    NasplatError: a target that cannot be met, with the best that can.
    """
    target, limit = dict(work.order.target), float(work.order.target.get("max_latency", math.inf))
    tries: list[float] = []
    while len(tries) < ATTEMPTS:
        try:
            plan = _planned(work, module, target)
        except NasplatError:
            if not tries:
                raise
            break
        small = plan.apply(module)
        if math.isinf(limit):
            return plan, small
        tries.append(clock(small, work.example, work.device).median_ms)
        if tries[-1] <= limit:
            return replace(plan, target=str(Target(**work.order.target))), small
        target["max_latency"] *= max(LEAST, limit / tries[-1])
    raise InvalidStudy(
        f"a latency of {limit:g} ms on {work.device} is not kept where it is measured again: the best of {len(tries)} "
        f"plans took {min(tries):.4g} ms; ask for that, or measure on a quiet machine"
    )


def _planned(work: Work, module: nn.Module, target: dict[str, Any]) -> Plan:
    order, metanet, example = work.order, work.metanet, work.example[:TRACED]
    settings = replace(order.settings, batch=order.batch)
    seed = derived_seed(order.settings.seed, 0)
    loss = None if work.data is None else losses(work.data, order.finetuning.batch_size, seed)
    if metanet is None or order.finetuning.before is not None:
        score = order.score or "l2"
        return plan_pruning(module, example, score, loss=loss, settings=settings, **target)
    if isinstance(metanet, SetAware) and takes_steps(metanet, target, settings):
        plan = stepwise(metanet, module, example, Target(**target), loss)
    else:
        plan = plan_pruning(module, example, metanet, loss=loss, settings=settings, **target)
    return replace(plan, score=f"metanetwork {order.metanet}")
