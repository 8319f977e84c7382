"""Slices, masks and folded batches are the same training; compilation makes few graphs and changes no number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode

from nasplat import load
from nasplat.data import Dataset, Split, generator
from nasplat.elastic import ElasticSpace
from nasplat.errors import TrainingError
from nasplat.space import Arch
from nasplat.supernet import METHODS, Sandwich, SandwichTraining, Settings, train
from nasplat.supernet.execution import EXECUTIONS, Execution, make_execution

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def family() -> ElasticSpace:
    space: ElasticSpace = load("spaces", "elastic_convnet")(
        input_shape=(1, 6, 6), classes=3, stages=1, depth=(1, 2), width=(2, 4), kernel=(1, 3)
    )
    return space


@pytest.fixture(scope="module")
def images() -> Dataset:
    split = Split(torch.randn(16, 1, 6, 6, generator=generator(1)), torch.arange(16) % 3)
    return Dataset("images", split, split, split, classes=3)


@pytest.fixture
def archs(family: ElasticSpace) -> list[Arch]:
    return Sandwich(family, 3, seed=1).ask(0, lambda arch: torch.tensor(0.0))


def gradients(net: nn.Module, run: Execution, data: Dataset, archs: Sequence[Arch]) -> dict[str, Tensor]:
    """Of the mean cross entropy of architectures; a weight without one has a gradient of 0."""
    net.zero_grad()
    for group in run(data.train.inputs, archs):
        torch.autograd.backward([F.cross_entropy(outputs, data.train.targets) for outputs in group])
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in net.named_parameters()}


@pytest.mark.parametrize("name", sorted(EXECUTIONS))
def test_every_execution_gives_the_gradients_of_a_plain_sum(
    name: str, family: ElasticSpace, images: Dataset, archs: list[Arch]
) -> None:
    net = family.supernet(seed=2).train()
    ours = gradients(net, make_execution(net, family, Settings(execution=name), CPU), images, archs)
    loss = sum(F.cross_entropy(net(images.train.inputs, arch), images.train.targets) for arch in archs)
    theirs = torch.autograd.grad(loss, list(net.parameters()), materialize_grads=True)
    for gradient, expected in zip(ours.values(), theirs, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "sizes"), [("slice", [1] * 5), ("mask", [1] * 5), ("vmap", [1, 4])])
def test_groups_are_run_when_they_are_asked_for_and_the_first_is_alone(
    name: str, sizes: list[int], family: ElasticSpace, images: Dataset, archs: list[Arch]
) -> None:
    net, passes = family.supernet().train(), list[int]()
    net.register_forward_hook(lambda *_: passes.append(1))
    groups = make_execution(net, family, Settings(execution=name), CPU)(images.train.inputs, archs)
    for number, size in enumerate(sizes, start=1):
        assert len(next(groups)) == size
        assert len(passes) == number
    assert next(groups, None) is None


@pytest.mark.parametrize("name", sorted(EXECUTIONS))
def test_a_training_comes_out_alike_in_every_execution(
    name: str, family: ElasticSpace, images: Dataset
) -> None:
    method = SandwichTraining(epochs=3, batch_size=8, alpha=0.5, learning_rate=0.05)

    def weights(execution: str) -> Tensor:
        net = family.supernet(seed=2)
        report = train(net, images, method.schedule(family, images, 0), method, Settings(execution=execution))
        assert report.passes == 6 * 4
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    torch.testing.assert_close(weights(name), weights("slice"), rtol=1e-3, atol=1e-4)


class Noisy(nn.Module):
    """Dropout of ones: outputs show the draw."""

    def forward(self, x: Tensor, arch: object) -> Tensor:
        return F.dropout(torch.ones_like(x), 0.5)


def test_folded_architectures_draw_dropout_each_for_itself(family: ElasticSpace, images: Dataset) -> None:
    run = make_execution(Noisy(), family, Settings(execution="vmap"), CPU)
    _, (a, b) = run(images.train.inputs, [family.smallest()] * 3)
    assert not a.equal(b)


@pytest.mark.parametrize(("name", "graphs"), [("slice", 2), ("mask", 1), ("vmap", 2)])
def test_compilation_makes_a_few_graphs_for_any_number_of_architectures_and_changes_no_gradient(
    name: str, graphs: int, images: Dataset
) -> None:
    """Of slices the two ends; of masks one; of a folded batch one beside the largest slice."""
    family = load("spaces", "elastic_convnet")(
        input_shape=(1, 6, 6), classes=3, stages=1, depth=(1,), width=(2, 3, 4), kernel=(1, 3)
    )
    net = family.supernet(seed=2).train()
    counter = CompileCounterWithBackend("aot_eager")
    compiler: Callable[..., Any] = partial(torch.compile, backend=counter, dynamic=False, fullgraph=True)
    compiled, eager = EXECUTIONS[name](net, family, compiler), EXECUTIONS[name](net, family, None)
    for step in range(3):
        archs = Sandwich(family, 3, seed=1).ask(step, lambda arch: torch.tensor(0.0))
        ours, theirs = (gradients(net, run, images, archs) for run in (compiled, eager))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert counter.frame_count == graphs
    torch._dynamo.reset()


class Reads(TorchDispatchMode):
    """Counts the numbers that leave the device, one wait each."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    with Reads() as mode:
        to_list = Tensor.tolist

        def counted(tensor: Tensor) -> Any:
            mode.count += 1
            return to_list(tensor)

        monkeypatch.setattr(Tensor, "tolist", counted)
        yield mode


@pytest.mark.parametrize("name", sorted(EXECUTIONS))
def test_neither_steps_nor_architectures_wait_for_the_device(
    name: str, family: ElasticSpace, images: Dataset, reads: Reads
) -> None:
    found = []
    for epochs, random in ((1, 1), (4, 1), (4, 5)):
        method = SandwichTraining(epochs=epochs, batch_size=8, random=random, clip=1.0, alpha=0.3)
        settings = Settings(execution=name, pulse=3600)
        reads.count = 0
        train(family.supernet(), images, method.schedule(family, images, 0), method, settings)
        found.append(reads.count)
    assert found[0] == found[1] == found[2]


def test_an_unknown_execution_and_one_without_a_space_are_one_line(
    family: ElasticSpace, images: Dataset
) -> None:
    method = METHODS["sandwich"](epochs=1, batch_size=8)
    schedule = method.schedule(family, images, 0)
    with pytest.raises(TrainingError, match=r"^execution = 'slices': expected one of slice, mask, vmap$"):
        train(family.supernet(), images, schedule, method, Settings(execution="slices"))
    for settings in (Settings(execution="mask"), Settings(execution="vmap"), Settings(compile=True)):
        with pytest.raises(TrainingError, match="asks for the choices of the space: give Schedule"):
            train(family.supernet(), images, replace(schedule, space=None), method, settings)
