"""The loop does what its parts say, and nothing else."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat import load
from nasplat.data import Dataset, Split, Task, load_data
from nasplat.errors import NasplatError
from nasplat.space import Arch, Space
from nasplat.supernet import (
    METHODS,
    Fixed,
    Phase,
    Recipe,
    Sandwich,
    Schedule,
    Settings,
    distillation,
    frozen,
    in_place,
    label_loss,
    train,
    train_network,
)


def no_judge(arch: Arch) -> Tensor:
    raise AssertionError("this policy asks nobody")


def test_the_loop_equals_a_loop_written_by_hand(space: Space, data: Dataset, make_net) -> None:  # type: ignore[no-untyped-def]
    data = replace(data, augment=None)
    recipe = Recipe(epochs=9, batch_size=24, learning_rate=0.2, ramp=0.25, weight_decay=0.01)
    policy, net, reference = Sandwich(space, 2, seed=5), make_net(), make_net()
    objective = distillation(F.cross_entropy, alpha=0.3, temperature=2.0)
    schedule = Schedule(
        (Phase(1 / 3, Fixed((space.largest(),)), objective), Phase(1.0, policy, objective, in_place))
    )
    report = train(net, data, schedule, recipe)

    velocity = {p: torch.zeros_like(p) for p in reference.parameters()}
    x, y = data.train.inputs, data.train.targets
    for step in range(9):  # a batch is the whole split, so its order does not matter
        archs = policy.ask(step, no_judge) if step >= 3 else [space.largest()]
        logits = [reference(x, arch) for arch in archs]
        taught = (logits[0].detach() / 2).softmax(1)
        loss = F.cross_entropy(logits[0], y)
        for other in logits[1:]:
            divergence = F.kl_div((other / 2).log_softmax(1), taught, reduction="batchmean")
            loss = loss + 0.7 * F.cross_entropy(other, y) + 0.3 * 4 * divergence
        grads = torch.autograd.grad(loss / len(archs), list(velocity), allow_unused=True)
        rate = 0.2 * (step + 1) / 2 if step < 2 else 0.1 * (1 + math.cos(math.pi * (step - 2) / 7))
        with torch.no_grad():
            for (p, v), grad in zip(velocity.items(), grads, strict=True):
                grad = grad + (0.01 * p if p.ndim > 1 else 0.0)
                v.mul_(0.9).add_(grad)
                p.sub_(rate * (grad + 0.9 * v))

    for ours, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert (report.steps, report.epochs, report.passes) == (9, 9, 3 + 6 * 4)


def test_policies_hear_the_losses_of_what_they_asked_for(space: Space, data: Dataset, make_net) -> None:  # type: ignore[no-untyped-def]
    heard: list[tuple[list[Arch], list[float]]] = []

    class Curious(Fixed):
        def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
            assert not any(loss.requires_grad for loss in losses)
            heard.append((list(archs), [float(loss) for loss in losses]))

    both, told = (space.smallest(), space.largest()), list[Mapping[str, float]]()
    report = train(
        make_net(),
        data,
        Schedule((Phase(1.0, Curious(both), label_loss(F.cross_entropy)),)),
        Recipe(epochs=2, batch_size=12),
        Settings(pulse=0, progress=lambda done, steps, figures: told.append(figures)),
    )
    assert [archs for archs, _ in heard] == [list(both)] * 4
    assert report.loss == pytest.approx(sum(heard[-1][1]) / 2)
    assert report.first_loss == pytest.approx(heard[-1][1][0])
    assert told == [{"loss": pytest.approx(sum(two) / 2), "first": pytest.approx(two[0])} for _, two in heard]


def test_a_frozen_teacher_speaks_once_a_step_in_eval_mode_and_is_followed(
    space: Space, data: Dataset
) -> None:
    data = replace(data, augment=None)
    calls: list[bool] = []
    teacher = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.9))
    teacher.register_forward_hook(lambda module, inputs, outputs: calls.append(module.training))

    class Student(nn.Linear):
        def forward(self, x: Tensor, arch: Arch) -> Tensor:  # type: ignore[override]
            return super().forward(x)

    student = Student(4, 3)
    phase = Phase(1.0, Sandwich(space), distillation(F.cross_entropy, alpha=1.0), frozen(teacher))
    train(
        student,
        data,
        Schedule((phase,)),
        Recipe(epochs=200, batch_size=24, learning_rate=1.0, weight_decay=0.0),
    )
    assert calls == [False] * 200
    with torch.no_grad():
        probabilities = [
            net.softmax(1) for net in (student(data.train.inputs, Arch({})), teacher(data.train.inputs))
        ]
    torch.testing.assert_close(*probabilities, atol=0.02, rtol=0)


def test_clipping_bounds_the_update(data: Dataset) -> None:
    module = nn.Linear(4, 3)
    before = [p.detach().clone() for p in module.parameters()]
    train_network(
        module,
        data,
        Recipe(epochs=1, batch_size=24, learning_rate=2.0, ramp=0.0, weight_decay=0.0, clip=0.01),
    )
    moved = torch.cat([(p - b).detach().flatten() for p, b in zip(module.parameters(), before, strict=True)])
    assert float(moved.norm()) == pytest.approx(
        2.0 * (1 + 0.9) * 0.01, rel=1e-3
    )  # Nesterov's first step: g + 0.9 g


def test_clipping_values_bounds_each_number_of_the_gradient(data: Dataset) -> None:
    module = nn.Linear(4, 3)
    start = [p.detach().clone() for p in module.parameters()]
    loss = F.cross_entropy(module(data.train.inputs), data.train.targets)
    grads = torch.autograd.grad(loss, list(module.parameters()))
    assert any((grad.abs() > 0.02).any() for grad in grads)
    recipe = Recipe(epochs=1, batch_size=24, learning_rate=2.0, ramp=0.0, weight_decay=0.0, clip_value=0.02)
    train_network(module, replace(data, augment=None), recipe)
    for p, before, grad in zip(module.parameters(), start, grads, strict=True):
        torch.testing.assert_close(p.detach(), before - 2.0 * 1.9 * grad.clip(-0.02, 0.02))


def test_adamw_equals_its_formula(data: Dataset) -> None:
    """arXiv:1711.05101, algorithm 2, with bias correction; the bias vector does not decay."""
    data = replace(data, augment=None)
    recipe = Recipe(
        epochs=5, batch_size=24, learning_rate=0.03, ramp=0.0, weight_decay=0.1, optimiser="adamw"
    )
    module, reference = nn.Linear(4, 3), nn.Linear(4, 3)
    reference.load_state_dict(module.state_dict())
    train_network(module, data, recipe)
    moments = {p: (torch.zeros_like(p), torch.zeros_like(p)) for p in reference.parameters()}
    for step in range(5):
        loss = F.cross_entropy(reference(data.train.inputs), data.train.targets)
        rate = 0.03 * (1 + math.cos(math.pi * step / 5)) / 2
        for (p, (m, v)), g in zip(moments.items(), torch.autograd.grad(loss, list(moments)), strict=True):
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g**2)
            corrected = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
            decay = 0.1 * p.detach() if p.ndim > 1 else 0.0
            p.data.sub_(rate * (corrected[0] / (corrected[1].sqrt() + 1e-8) + decay))
    for ours, theirs in zip(module.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_regression_trains_with_its_own_task_and_reports_each_epoch() -> None:
    x = torch.randn(96, 4, generator=torch.Generator().manual_seed(1))
    y = x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]]) + 1
    task = Task("rmse", "minimize", "mm", F.mse_loss, lambda o, t: float((o - t).square().mean().sqrt()))
    data = Dataset("line", *(Split(x[k::3], y[k::3]) for k in range(3)), task=task)
    seen: list[tuple[int, float]] = []
    report = train_network(
        nn.Linear(4, 1),
        data,
        Recipe(epochs=60, batch_size=8, weight_decay=0.0),
        on_epoch=lambda e, v: seen.append((e, v)),
    )
    assert [epoch for epoch, _ in seen] == list(range(1, 61))
    assert seen[0][1] > 0.5
    assert seen[-1][1] < 1e-3
    assert report.loss < 1e-5


def test_what_on_epoch_raises_ends_the_training_and_passes_through(data: Dataset) -> None:
    class PrunedError(Exception):
        pass

    def stop(epoch: int, value: float) -> None:
        if epoch == 2:
            raise PrunedError

    with pytest.raises(PrunedError):
        train_network(nn.Linear(4, 3), data, Recipe(epochs=5), on_epoch=stop)


def test_training_leaves_the_callers_random_numbers_alone(data: Dataset) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    module = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3))
    torch.manual_seed(3)
    train_network(module, data, Recipe(epochs=1))
    assert torch.rand(2).equal(expected)


def test_equal_seeds_give_equal_weights_and_other_seeds_others(space: Space, data: Dataset, make_net) -> None:  # type: ignore[no-untyped-def]
    method = METHODS["sandwich"](epochs=3, batch_size=8)

    def weights(seed: int) -> Tensor:
        net = make_net(dropout=0.5)
        train(net, data, method.schedule(space, data, seed), method, Settings(seed=seed))
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    assert weights(1).equal(weights(1))
    assert not weights(1).equal(weights(2))


def test_progress_is_told_rarely_and_always_at_the_end(data: Dataset) -> None:
    told: list[tuple[int, int]] = []
    settings = Settings(pulse=3600, progress=lambda done, total, facts: told.append((done, total)))
    report = train_network(nn.Linear(4, 3), data, Recipe(epochs=5, batch_size=8), settings)
    assert told == [(15, 15)]
    assert report.images_per_second == pytest.approx(15 * 8 / report.seconds)
    always = replace(settings, pulse=0)
    train_network(nn.Linear(4, 3), data, Recipe(epochs=5, batch_size=8), always)
    assert told[1:] == [(step, 15) for step in range(1, 16)]


def test_under_autocast_the_loss_is_single_and_the_weights_stay_so(data: Dataset) -> None:
    seen: list[torch.dtype] = []

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        seen.append(outputs.dtype)
        return F.cross_entropy(outputs, targets)

    module = nn.Linear(4, 3)
    watched = replace(data, task=replace(data.task, loss=loss))
    report = train_network(module, watched, Recipe(epochs=40, batch_size=8), Settings(bf16=True))
    assert set(seen) == {torch.float32} == {p.dtype for p in module.parameters()}
    assert report.loss < 0.7


def test_under_autocast_a_frozen_teacher_works_in_bfloat16_and_speaks_in_single(
    space: Space,
    data: Dataset,
    make_net,  # type: ignore[no-untyped-def]
) -> None:
    inside, said = set[torch.dtype](), set[torch.dtype]()
    teacher = nn.Linear(4, 3)
    teacher.register_forward_hook(lambda module, inputs, outputs: inside.add(outputs.dtype))

    def objective(outputs: Tensor, targets: Tensor, taught: Tensor | None) -> Tensor:
        assert taught is not None
        said.update((outputs.dtype, taught.dtype))
        return F.mse_loss(outputs, taught)

    schedule = Schedule((Phase(1.0, Sandwich(space), objective, frozen(teacher)),))
    train(make_net(), data, schedule, Recipe(epochs=1, batch_size=12), Settings(bf16=True))
    assert (inside, said) == ({torch.bfloat16}, {torch.float32})


def test_a_training_runs_in_a_thread_of_its_own(data: Dataset) -> None:
    done: list[int] = []
    body = threading.Thread(
        target=lambda: done.append(train_network(nn.Linear(4, 3), data, Recipe(epochs=1)).steps)
    )
    body.start()
    body.join()
    assert done == [1]


def test_a_network_with_3d_convolutions_trains_channels_last_in_its_2d_ones() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Unflatten(1, (1, 3)), nn.Conv3d(1, 2, 2), nn.Flatten())
    examples = Split(torch.randn(8, 2, 4, 4), torch.randint(0, 4, (8,)))
    data = Dataset("toy", examples, examples, examples, classes=4)
    train_network(net, data, Recipe(epochs=1, batch_size=4), Settings(channels_last=True))
    assert not net[0].weight.is_contiguous()
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert net[2].weight.is_contiguous()


def test_an_unknown_device_is_one_line() -> None:
    with pytest.raises(NasplatError, match="device 'tpu' is unknown"):
        train_network(nn.Linear(4, 3), load_data("digits"), Recipe(), Settings(device="tpu"))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_teaches_an_elastic_convnet_something(method: str) -> None:
    data = load_data("translated_digits", canvas=10, clutter=0, noise=0.0, copies=1)
    space = load("spaces", "elastic_convnet")(
        input_shape=data.input_shape, classes=10, stages=1, depth=(1, 2), width=(4, 8), kernel=(3,)
    )
    recipe = METHODS[method](epochs=4, batch_size=32)
    net = space.supernet()
    train(net, data, recipe.schedule(space, data, 0), recipe, Settings(channels_last=True))
    with torch.no_grad():
        for arch in (space.smallest(), space.largest()):
            assert data.task.loss(net(data.train.inputs, arch), data.train.targets) < math.log(10) - 0.2
