"""A training that was stopped goes on to the same weights; a file it cannot trust changes nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from nasplat.data import Dataset, Split
from nasplat.errors import TrainingError
from nasplat.space import Space
from nasplat.supernet import (
    Fixed,
    Phase,
    Recipe,
    SandwichTraining,
    Schedule,
    Settings,
    TrainingReport,
    label_loss,
    train,
)

METHOD = SandwichTraining(epochs=5, batch_size=8, warmup=0.4)  # 15 steps, the first 6 of the largest alone
Run = Callable[..., tuple[nn.Module, TrainingReport]]


@pytest.fixture
def run(space: Space, data: Dataset, make_net) -> Run:  # type: ignore[no-untyped-def]
    def run(seed: int = 0, **arguments: object) -> tuple[nn.Module, TrainingReport]:
        """Each run starts from another network; only a checkpoint can make two of them equal."""
        net = make_net(seed, dropout=0.3)
        report = train(net, data, METHOD.schedule(space, data, 0), METHOD, Settings(pulse=0, **arguments))  # type: ignore[arg-type]
        return net, report

    return run


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(x.equal(y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stop=st.integers(1, 15))
@example(stop=15)
def test_after_ctrl_c_at_any_step_the_weights_are_those_of_an_unbroken_training(
    run: Run, tmp_path_factory: pytest.TempPathFactory, stop: int
) -> None:
    path = tmp_path_factory.mktemp("stop") / "checkpoint"

    def interrupt(done: int, total: int, facts: Mapping[str, float]) -> None:
        if done == stop:
            os.kill(os.getpid(), signal.SIGINT)

    whole, report = run()
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=path, progress=interrupt)
    net, resumed = run(seed=1, checkpoint=path)
    assert equal(net, whole)
    assert (resumed.steps, resumed.passes, resumed.loss) == (report.steps, report.passes, report.loss)


def test_a_training_killed_between_checkpoints_goes_on_from_the_last(run: Run, tmp_path: Path) -> None:
    def die(done: int, total: int, facts: Mapping[str, float]) -> None:
        if done == 10:
            raise RuntimeError("killed")

    path = tmp_path / "checkpoint"
    with pytest.raises(RuntimeError):
        run(checkpoint=path, save_every=0, progress=die)
    assert steps_in(path) == 9
    assert equal(run(seed=1, checkpoint=path)[0], run()[0])


def steps_in(path: Path) -> int:
    with safe_open(path, framework="pt") as file:
        return int(json.loads(file.metadata()["progress"])["steps"])


def test_a_finished_training_is_not_repeated(run: Run, tmp_path: Path) -> None:
    first, before = run(checkpoint=tmp_path / "checkpoint")
    told: list[int] = []
    again, after = run(
        seed=1, checkpoint=tmp_path / "checkpoint", progress=lambda done, *_: told.append(done)
    )
    assert equal(first, again)
    assert (after.steps, after.passes, after.loss) == (before.steps, before.passes, before.loss)
    assert told == []


def test_a_second_ctrl_c_acts_at_once_and_the_handler_comes_back(run: Run, tmp_path: Path) -> None:
    def twice(done: int, total: int, facts: Mapping[str, float]) -> None:
        signal.raise_signal(signal.SIGINT)  # to this thread: two signals to a process may be told as one
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=tmp_path / "checkpoint", progress=twice)
    assert not (tmp_path / "checkpoint").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def flaky(bad_step: int, loss: Callable[[Tensor, Tensor], Tensor]) -> Schedule:
    """One architecture a step; the loss of one step is spoilt."""
    count = iter(range(10**6))

    def objective(outputs: Tensor, targets: Tensor, teacher: Tensor | None) -> Tensor:
        return loss(outputs, targets) if next(count) == bad_step else F.cross_entropy(outputs, targets)

    space = Space("none", [])
    return Schedule((Phase(1.0, Fixed((space.largest(),)), objective),))


class Plain(nn.Linear):
    def forward(self, x: Tensor, arch: object) -> Tensor:  # type: ignore[override]
        return super().forward(x)


def test_a_loss_that_is_not_a_number_ends_the_training_and_keeps_the_last_good_checkpoint(
    data: Dataset, tmp_path: Path
) -> None:
    path, recipe = tmp_path / "checkpoint", Recipe(epochs=4, batch_size=8)
    schedule = flaky(7, lambda outputs, targets: outputs.sum() * torch.nan)
    with pytest.raises(
        TrainingError, match=r"the loss became nan in step 7 of 12; lower learning_rate.*stays at"
    ) as e:
        train(Plain(4, 3), data, schedule, recipe, Settings(checkpoint=path, save_every=0, pulse=0))
    assert "\n" not in str(e.value)
    assert steps_in(path) == 7
    with pytest.raises(TrainingError, match="the loss became inf in step 2 of 12"):
        train(Plain(4, 3), data, flaky(2, lambda o, t: o.sum() * 0 + torch.inf), recipe, Settings(pulse=3600))


@dataclass
class Poison:
    """A morphism that spoils the weights of the last unit, which only the widest architecture has."""

    exact = False

    def __call__(self, net: nn.Module, optimiser: Optimizer) -> None:
        net.first.weight.data[-1] = torch.nan


def test_a_loss_that_is_not_a_number_names_the_architecture_that_had_it(
    space: Space,
    data: Dataset,
    make_net,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    path, loss = tmp_path / "checkpoint", label_loss(F.cross_entropy)
    policy = Fixed((space.smallest(), space.largest()))
    schedule = Schedule((Phase(0.5, policy, loss), Phase(1.0, policy, loss, on_enter=(Poison(),))))
    key, settings = space.largest().key, Settings(checkpoint=path, save_every=0, pulse=3600)
    with pytest.raises(TrainingError) as caught:
        train(make_net(), data, schedule, Recipe(epochs=4, batch_size=8), settings)
    assert str(caught.value) == (
        f"the loss became nan in step 6 of 12, in 1 of 2 architectures, first {key} (width=8);"
        f" lower learning_rate, or set clip; the last good checkpoint stays at {path}"
    )
    assert steps_in(path) == 6


def test_an_example_that_is_not_a_number_spoils_all_architectures(
    space: Space, data: Dataset, make_net
) -> None:  # type: ignore[no-untyped-def]
    inputs = data.train.inputs.clone()
    inputs[5, 0] = torch.nan
    spoilt = replace(data, train=Split(inputs, data.train.targets))
    with pytest.raises(TrainingError, match=r"nan in step \d of 15, in 1 of 1 architectures, first"):
        train(make_net(), spoilt, METHOD.schedule(space, data, 0), METHOD)


def test_a_weight_that_is_not_a_number_is_never_written(data: Dataset, tmp_path: Path) -> None:
    path, recipe = tmp_path / "checkpoint", Recipe(epochs=4, batch_size=8)
    schedule = flaky(11, lambda outputs, targets: (outputs * 0).sum().sqrt())  # 0, with a gradient of 0 * inf
    with pytest.raises(
        TrainingError, match="a weight became NaN or infinite by step 12; lower learning_rate"
    ):
        train(Plain(4, 3), data, schedule, recipe, Settings(checkpoint=path, save_every=0, pulse=0))
    assert steps_in(path) == 11


def test_a_damaged_checkpoint_is_one_line_and_changes_nothing(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    run(checkpoint=path)
    whole = path.read_bytes()
    for content in (
        whole[:-10],
        whole[:20],
        b"",
        b"not a checkpoint",
        whole.replace(b'\\"steps\\":', b'\\"stepz\\":'),
    ):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match=r"is damaged .*; delete it and train again") as caught:
            run(checkpoint=path)
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == content


def without(prefix: str) -> Callable[[dict[str, Tensor], dict[str, str]], dict[str, Tensor]]:
    return lambda tensors, _: {name: t for name, t in tensors.items() if not name.startswith(prefix)}


def spoilt(tensors: dict[str, Tensor], _: dict[str, str]) -> dict[str, Tensor]:
    return tensors | {"net.last.bias": tensors["net.last.bias"] * torch.nan}


def at_step(steps: object) -> Callable[[dict[str, Tensor], dict[str, str]], dict[str, Tensor]]:
    def edit(tensors: dict[str, Tensor], metadata: dict[str, str]) -> dict[str, Tensor]:
        metadata["progress"] = json.dumps(json.loads(metadata["progress"]) | {"steps": steps})
        return tensors

    return edit


@pytest.mark.parametrize(
    "edit",
    [without("optimiser"), without("net.last.bias"), spoilt, at_step(10**6), at_step("x"), at_step(None)],
)
def test_a_checkpoint_that_was_tampered_with_is_refused_and_the_network_stays(
    edit: Callable[[dict[str, Tensor], dict[str, str]], dict[str, Tensor]],
    run: Run,
    space: Space,
    data: Dataset,
    make_net,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoint"
    run(checkpoint=path)
    with safe_open(path, "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    save_file(edit(tensors, metadata), path, metadata)
    net = make_net(9)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(TrainingError, match=r"is damaged .*; delete it and train again"):
        train(net, data, METHOD.schedule(space, data, 0), METHOD, Settings(checkpoint=path))
    assert all(tensor.equal(before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("other", ["recipe", "method", "seed", "space", "data", "augmentation"])
def test_a_checkpoint_of_another_training_is_refused(
    other: str,
    run: Run,
    space: Space,
    data: Dataset,
    make_net,
    tmp_path: Path,  # type: ignore[no-untyped-def]
) -> None:
    path = tmp_path / "checkpoint"
    run(checkpoint=path)
    recipe, settings = METHOD, Settings(checkpoint=path)
    if other == "recipe":
        recipe = replace(METHOD, learning_rate=0.3)
    if other == "method":
        recipe = replace(METHOD, random=3)
    if other == "seed":
        settings = replace(settings, seed=1)
    if other == "space":
        space = Space("toy", space.choices, input_shape=(4,))
    if other == "data":
        data = replace(data, test=data.validation)
    if other == "augmentation":
        data = replace(data, origin={"arguments": {"augment": False}})
    net = make_net(9)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(TrainingError, match=r"is a checkpoint of another training .*; delete it"):
        train(net, data, recipe.schedule(space, data, 0), recipe, settings)
    assert all(tensor.equal(before[name]) for name, tensor in net.state_dict().items())


def test_a_checkpoint_of_another_network_is_refused(
    run: Run,
    space: Space,
    data: Dataset,
    make_net,
    tmp_path: Path,  # type: ignore[no-untyped-def]
) -> None:
    path = tmp_path / "checkpoint"
    run(checkpoint=path)
    with pytest.raises(
        TrainingError, match=r"of another network: net.last.bias is \(3,\) float32, expected \(4,\)"
    ):
        train(make_net(outputs=4), data, METHOD.schedule(space, data, 0), METHOD, Settings(checkpoint=path))
