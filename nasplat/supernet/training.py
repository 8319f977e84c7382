"""The one training loop. What a method adds is in its policy, objective, teacher and phases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from nasplat.data import Dataset, Task, derived_seed, evaluate
from nasplat.files import json_hash
from nasplat.measure import pick_device
from nasplat.space import Arch, Space
from nasplat.supernet.checkpoint import Checkpoint
from nasplat.supernet.execution import Execution, make_execution
from nasplat.supernet.feed import Feed
from nasplat.supernet.interrupt import deferred_interrupt
from nasplat.supernet.journal import Journal, TrainingReport
from nasplat.supernet.methods import training_loss
from nasplat.supernet.objective import label_loss
from nasplat.supernet.place import Place, bring, find_place
from nasplat.supernet.policy import Fixed
from nasplat.supernet.recipe import Recipe, Settings, make_optimiser
from nasplat.supernet.schedule import Phase, Schedule, learning_rate
from nasplat.supernet.world import World, this_world

DEFAULT = Settings()
DROPOUT, MORPHISMS = 2, 3  # what a seed is derived for, beside those of the feed


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
    checkpoint of a finished training stays, for its owner to delete once the weights are kept. Under torchrun, after
    `init_world`, every process calls this alike and ends with the same weights.
    TrainingError: a loss that is not finite, a checkpoint that is damaged or of another training, an execution that
    the schedule has no space for or does not allow, or a batch that the processes cannot share.
    """
    world, place = this_world(), find_place(settings)
    bring(net, place)
    feed = Feed(data, recipe.batch_size, settings.seed, place.device, place.channels_last)
    optimiser = make_optimiser(net, recipe)
    steps = recipe.epochs * feed.steps_per_epoch
    forward = place.forward(net)
    execution = make_execution(forward, schedule.space, settings, place.device, schedule.executions)
    identity = _identity(data, schedule, recipe, settings.seed) if settings.checkpoint else ""
    checkpoint = Checkpoint(net, optimiser, schedule.stateful, settings.checkpoint, identity, place.device)
    journal = Journal(settings, checkpoint, steps, world)
    with place.own_randomness(), deferred_interrupt() as interrupted:
        for step in range(journal.resumed_at, steps):
            phase, done = schedule.at(step, steps), schedule.done(step, steps)
            if done == 0 and phase.on_enter:
                world.follow_main(net)  # a teacher that is taken now is the same in every process
                _enter(phase, net, optimiser, derived_seed(settings.seed, MORPHISMS, step))
            torch.manual_seed(derived_seed(settings.seed, DROPOUT, step, world.rank))
            work = _Work(phase, done, *(world.share(tensor) for tensor in feed.batch(step)))
            judge = _Judge(net, work, place, world, data.task, partial(feed.validation, step))
            archs = phase.policy.ask(step, judge)
            losses = world.average(net, _backward(execution, work, archs, place))
            _update(optimiser, recipe, step, steps)
            phase.policy.tell(archs, losses)
            if after_epoch and (step + 1) % feed.steps_per_epoch == 0:
                world.follow_main(net)
                after_epoch((step + 1) // feed.steps_per_epoch)
            journal.note(archs, losses, stop=interrupted())
        report = journal.close(feed.size, feed.steps_per_epoch)
        if interrupted():  # during the last step
            raise KeyboardInterrupt
    return report


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
    schedule = Schedule((phase,), space=Space("one network", []))
    return train(_AnyArch(module), data, schedule, recipe, settings, after_epoch=after_epoch)


class _AnyArch(nn.Module):
    """A module that is the same in every architecture."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor, arch: Arch) -> Tensor:
        outputs: Tensor = self.module(inputs)
        return outputs


@dataclass(frozen=True, slots=True)
class _Work:
    """Of one step: the phase, the share of it that is done, and this process's part of the batch."""

    phase: Phase
    done: float
    inputs: Tensor
    targets: Tensor


def _enter(phase: Phase, net: nn.Module, optimiser: Optimizer, seed: int) -> None:
    """Run the morphisms of a phase, with the same random numbers in every process."""
    torch.manual_seed(seed)
    for morphism in phase.on_enter:
        morphism(net, optimiser)


@dataclass(frozen=True, slots=True)
class _Judge:
    """The judge of one step."""

    net: nn.Module
    work: _Work
    place: Place
    world: World
    task: Task
    validation: Callable[[], tuple[Tensor, Tensor]]

    def __call__(self, arch: Arch) -> Tensor:
        loss = self.work.phase.objective(self._say(self.work.inputs, arch), self.work.targets, None)
        return self.world.mean([loss])[0]

    def validate(self, arch: Arch) -> Tensor:
        inputs, targets = self.validation()  # the same in every process
        score = self.task.score(self._say(inputs, arch).cpu(), targets.cpu())
        return self.world.mean([torch.tensor(score, device=inputs.device)])[0]

    @torch.no_grad()
    def _say(self, inputs: Tensor, arch: Arch) -> Tensor:
        """The outputs, from copies of the buffers: running statistics would move."""
        buffers = {name: buffer.clone() for name, buffer in self.net.named_buffers()}

        def untouched(inputs: Tensor, arch: Arch) -> Tensor:
            outputs: Tensor = functional_call(self.net, buffers, (inputs, arch))
            return outputs

        with self.place.own_randomness():
            return self.place.forward(untouched)(inputs, arch)


def _backward(execution: Execution, work: _Work, archs: Sequence[Arch], place: Place) -> list[Tensor]:
    """Add up the gradients of the mean weighted loss of the architectures; their losses, detached, on the device."""
    phase, ask = work.phase, place.forward(work.phase.teacher)
    teacher, losses = ask(work.inputs, None), list[Tensor]()
    for group in execution(work.inputs, archs):
        own = [phase.objective(outputs, work.targets, teacher) for outputs in group]
        factors = [phase.weight(len(losses) + n, work.done) for n in range(len(own))]
        torch.autograd.backward([f * loss / len(archs) for f, loss in zip(factors, own, strict=True)])
        losses += [loss.detach() for loss in own]
        for outputs in group:
            teacher = ask(work.inputs, outputs.detach()) if teacher is None else teacher
    return losses


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


def _identity(data: Dataset, schedule: Schedule, recipe: Recipe, seed: int) -> str:
    """The hash of all that shapes the weights, but for the network, whose tensors speak for themselves."""
    method = {"method": type(recipe).__name__, **asdict(recipe)}
    examples = [data.hash, str(dict(data.origin))]  # the origin says how they are augmented
    return json_hash({"recipe": method, "seed": seed, "schedule": schedule.identity, "data": examples})
