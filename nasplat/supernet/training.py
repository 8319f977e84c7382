"""The one training loop. What a method adds is in its policy, objective, teacher and phases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from nasplat.data import Dataset, derived_seed, evaluate
from nasplat.files import json_hash
from nasplat.measure import pick_device
from nasplat.space import Arch
from nasplat.supernet.checkpoint import Checkpoint
from nasplat.supernet.feed import Feed
from nasplat.supernet.interrupt import deferred_interrupt
from nasplat.supernet.journal import Journal, TrainingReport
from nasplat.supernet.methods import training_loss
from nasplat.supernet.objective import label_loss
from nasplat.supernet.policy import Fixed, Judge
from nasplat.supernet.recipe import Recipe, Settings, make_optimiser
from nasplat.supernet.schedule import Phase, Schedule, learning_rate

DEFAULT = Settings()
DROPOUT = 2  # what a seed is derived for, beside those of the feed
Batch = tuple[Tensor, Tensor]


def train(
    net: nn.Module,
    data: Dataset,
    schedule: Schedule,
    recipe: Recipe,
    settings: Settings = DEFAULT,
    *,
    after_epoch: Callable[[int], None] | None = None,
) -> TrainingReport:
    """Train a network that is called as net(inputs, arch), in place, on settings.device.

    Each step averages the gradients of the architectures that the phase's policy asks for, each times the phase's
    weight, then updates once.
    after_epoch gets the number of epochs done; what it raises ends the training. With a checkpoint the training
    goes on where it was left, to the same weights, bit for bit on a CPU; Ctrl-C writes one first. The
    checkpoint of a finished training stays, for its owner to delete once the weights are kept.
    TrainingError: a loss that is not finite, or a checkpoint that is damaged or of another training.
    """
    device, channels_last, bf16 = _place(net, settings)
    feed = Feed(data, recipe.batch_size, settings.seed, device, channels_last)
    optimiser = make_optimiser(net, recipe)
    steps = recipe.epochs * feed.steps_per_epoch
    identity = _identity(data, schedule, recipe, settings.seed) if settings.checkpoint else ""
    checkpoint = Checkpoint(net, optimiser, schedule.stateful, settings.checkpoint, identity)
    journal = Journal(settings, checkpoint, steps)
    with _own_randomness(device), deferred_interrupt() as interrupted:
        for step in range(journal.resumed_at, steps):
            torch.manual_seed(derived_seed(settings.seed, DROPOUT, step))
            phase, done = schedule.at(step, steps), schedule.done(step, steps)
            for morphism in phase.on_enter if done == 0 else ():
                morphism(net, optimiser)
            batch = feed.batch(step)
            archs = phase.policy.ask(step, _judge(net, phase, batch, bf16))
            losses = _backward(net, phase, done, archs, batch, bf16)
            _update(optimiser, recipe, step, steps)
            phase.policy.tell(archs, losses)
            journal.note(archs, losses)
            if after_epoch and (step + 1) % feed.steps_per_epoch == 0:
                after_epoch((step + 1) // feed.steps_per_epoch)
            if interrupted():
                journal.save()
                raise KeyboardInterrupt
    return journal.close(feed.size, feed.steps_per_epoch)


def train_network(
    module: nn.Module,
    data: Dataset,
    recipe: Recipe,
    settings: Settings = DEFAULT,
    *,
    on_epoch: Callable[[int, float], None] | None = None,
) -> TrainingReport:
    """Train an ordinary module, called as module(inputs), in place, in the same loop.

    on_epoch gets the number of epochs done and the task's score on the validation split; what it raises, such as
    Optuna's TrialPruned, ends the training and passes through. Errors as for `train`.
    """

    def report(epoch: int) -> None:
        if on_epoch:
            on_epoch(epoch, evaluate(module, data.validation, data.task, device=device))

    device = pick_device(settings.device)
    phase = Phase(1.0, Fixed((Arch({}),)), label_loss(training_loss(data, recipe)))
    after_epoch = report if on_epoch else None
    return train(_AnyArch(module), data, Schedule((phase,)), recipe, settings, after_epoch=after_epoch)


class _AnyArch(nn.Module):
    """A module that is the same in every architecture."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor, arch: Arch) -> Tensor:
        outputs: Tensor = self.module(inputs)
        return outputs


def _judge(net: nn.Module, phase: Phase, batch: Batch, bf16: bool) -> Judge:
    """The loss of an architecture on this step's batch, by its labels; the network stays as it is."""
    inputs, targets = batch

    def untouched(inputs: Tensor, arch: Arch) -> Tensor:
        buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}  # running statistics move
        outputs: Tensor = functional_call(net, buffers, (inputs, arch))
        return outputs

    @torch.no_grad()
    def judge(arch: Arch) -> Tensor:
        with _own_randomness(inputs.device):
            return phase.objective(_forward(untouched, inputs, arch, bf16), targets, None)

    return judge


def _backward(
    net: nn.Module, phase: Phase, done: float, archs: Sequence[Arch], batch: Batch, bf16: bool
) -> list[Tensor]:
    """Add up the gradients of the mean weighted loss of the architectures; their losses, detached, on the device."""
    inputs, targets = batch
    teacher, losses = phase.teacher(inputs, None), []
    for number, arch in enumerate(archs):
        outputs = _forward(net, inputs, arch, bf16)
        loss = phase.objective(outputs, targets, teacher)
        torch.autograd.backward(phase.weight(number, done) * loss / len(archs))
        losses.append(loss.detach())
        teacher = phase.teacher(inputs, outputs.detach()) if teacher is None else teacher
    return losses


def _forward(net: Callable[[Tensor, Arch], Tensor], inputs: Tensor, arch: Arch, bf16: bool) -> Tensor:
    """Outputs in single precision, in which losses are taken."""
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=bf16):
        outputs = net(inputs, arch)
    return outputs.float() if bf16 else outputs


def _update(optimiser: Optimizer, recipe: Recipe, step: int, steps: int) -> None:
    """One step of the optimiser at the step's learning rate; it leaves no gradients behind."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(step, steps, peak=recipe.learning_rate, ramp=recipe.ramp)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    if recipe.clip_value is not None:
        nn.utils.clip_grad_value_(parameters, recipe.clip_value)
    if recipe.clip is not None:
        nn.utils.clip_grad_norm_(parameters, recipe.clip)
    optimiser.step()
    optimiser.zero_grad()


def _place(net: nn.Module, settings: Settings) -> tuple[torch.device, bool, bool]:
    """Bring a network to its device, ready to train; the device, whether channels_last, whether bfloat16."""
    device = pick_device(settings.device)
    on_gpu = device.type == "cuda"
    channels_last = on_gpu if settings.channels_last is None else settings.channels_last
    net.to(device).train()
    net.zero_grad()
    if channels_last:
        _turn_channels_last(net)
    if on_gpu:
        torch.backends.cudnn.benchmark = False  # every new width would be timed anew
    return device, channels_last, on_gpu if settings.bf16 is None else settings.bf16


def _turn_channels_last(net: nn.Module) -> None:
    """Lay out the weights of 2-d convolutions channels_last; `Module.to` would refuse a network with 3-d ones."""
    for parameter in net.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


def _own_randomness(device: torch.device) -> AbstractContextManager[None]:
    """Within it, seeding leaves the caller's random numbers alone."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def _identity(data: Dataset, schedule: Schedule, recipe: Recipe, seed: int) -> str:
    """The hash of all that shapes the weights, but for the network, whose tensors speak for themselves."""
    method = {"method": type(recipe).__name__, **asdict(recipe)}
    examples = [data.hash, str(dict(data.origin))]  # the origin says how they are augmented
    return json_hash({"recipe": method, "seed": seed, "schedule": schedule.identity, "data": examples})
