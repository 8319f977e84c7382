"""Two real processes train as one would."""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.data import generator
from nasplat.errors import TrainingError
from nasplat.supernet import World, init_world, learning_rate
from nasplat.supernet.feed import Feed

SCRIPT = Path(__file__).with_name("two_processes.py")
Parts = dict[str, Any]


@pytest.fixture(scope="module")
def parts() -> Parts:
    """The nets, data and scenarios of the script, in this process, which is alone."""
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of the two processes found out, by scenario."""
    folder = tmp_path_factory.mktemp("world")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    where["PYTHONFAULTHANDLER"] = "1"  # a process that is aborted says where it was
    command = [sys.executable, "-W", "error", str(SCRIPT), str(folder)]
    processes = [
        subprocess.Popen(
            command, env=os.environ | where | {"RANK": str(rank)}, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    ends = [ended(process) for process in processes]
    if any(process.returncode for process in processes):
        pytest.fail("\n".join(f"process {rank} {end}" for rank, end in enumerate(ends)))
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def ended(process: subprocess.Popen[str]) -> str:
    """How a process ended, and what it said; one that does not within two minutes is killed."""
    try:
        said = process.communicate(timeout=120)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        said = f"killed after two minutes; {process.communicate()[1]}"
    return f"returned {process.returncode}: {said}"


def assert_close(ours: Any, theirs: Any) -> None:
    """Equal to float tolerance, through lists and dicts."""
    torch.testing.assert_close(tensors(ours), tensors(theirs), rtol=1e-5, atol=1e-6)


def tensors(tree: Any) -> Any:
    return {k: tensors(v) for k, v in tree.items()} if isinstance(tree, dict) else torch.tensor(tree)


def test_every_process_asks_for_the_same_architectures_and_learns_the_same(found: list[Parts]) -> None:
    first, second = (result["plain"] for result in found)
    assert first == second
    asked = {tuple(arch.values()) for archs in first["asked"] for arch in archs}
    assert len(asked) > 3
    assert {depth for _, depth in asked} == {1, 2}


def test_two_processes_equal_one_with_the_whole_batch(found: list[Parts], parts: Parts) -> None:
    alone = parts["learned"]()
    together = found[0]["plain"]
    assert together["asked"] == alone["asked"]
    for what in ("weights", "memory", "loss"):
        assert_close(together[what], alone[what])
    assert_close(found[0]["distilled"], parts["distilled"]())


def test_with_batch_norm_two_processes_equal_accumulation_over_the_half_batches(
    found: list[Parts], parts: Parts
) -> None:
    """A loop written by hand: sandwich, distillation, clipping and SGD, each half with statistics of its own."""
    net, space, recipe = parts["Net"]("batch"), parts["SPACE"], parts["RECIPE"]
    feed = Feed(parts["make_data"](), 8, 0, torch.device("cpu"))
    velocity = {p: torch.zeros_like(p) for p in net.parameters()}
    statistics = []
    for step in range(9):
        archs = parts["Sandwich"](space).ask(step, None)
        inputs, targets = feed.batch(step)
        loss = torch.tensor(0.0)
        for half in (slice(0, 4), slice(4, 8)):
            logits = [net(inputs[half], arch) for arch in archs]
            statistics.append(net.norm.running_mean.clone())
            teacher = logits[0].detach().softmax(1)
            loss = loss + F.cross_entropy(logits[0], targets[half])
            for other in logits[1:]:
                divergence = F.kl_div(other.log_softmax(1), teacher, reduction="batchmean")
                loss = loss + 0.5 * F.cross_entropy(other, targets[half]) + 0.5 * divergence
        descend(net, loss / (2 * len(archs)), velocity, learning_rate(step, 9, peak=0.1, ramp=recipe.ramp))
    ours = {name: torch.tensor(found[0]["normed"][name]) for name, _ in net.named_parameters()}
    theirs = {name: parameter.detach() for name, parameter in net.named_parameters()}
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    whole = parts["distilled"](norm="batch")
    assert not torch.tensor(whole["last.weight"]).allclose(theirs["last.weight"], atol=1e-4)


def descend(net: nn.Module, loss: Tensor, velocity: dict[Tensor, Tensor], rate: float) -> None:
    grads = torch.autograd.grad(loss, list(velocity), allow_unused=True)
    norm = torch.cat([grad.flatten() for grad in grads if grad is not None]).norm()
    for (p, v), grad in zip(velocity.items(), grads, strict=True):
        if grad is not None:
            grad = grad * min(1.0, 0.5 / float(norm)) + (5e-4 * p.detach() if p.ndim > 1 else 0.0)
            v.mul_(0.9).add_(grad)
            p.data.sub_(rate * (grad + 0.9 * v))


def test_both_processes_end_with_the_same_weights_and_running_statistics(found: list[Parts]) -> None:
    assert found[0]["normed"] == found[1]["normed"]


def test_a_morphism_finds_the_same_network_in_both_processes(found: list[Parts]) -> None:
    first, second = (result["entered"] for result in found)
    assert first["own"] != second["own"]
    assert first["found"] == second["found"]
    assert len(first["found"]) == 4


def test_a_training_that_one_process_is_told_to_stop_resumes_in_both(found: list[Parts]) -> None:
    for rank in range(2):
        assert found[rank]["resumed"]["weights"] == found[rank]["plain"]["weights"]
        assert found[rank]["resumed"]["memory"] == found[rank]["plain"]["memory"]


def test_the_main_process_alone_writes_and_tells(found: list[Parts]) -> None:
    assert [result["alone"] for result in found] == [[True, True], [False, False]]


def test_a_checkpoint_that_not_all_processes_have_is_refused_by_all(found: list[Parts]) -> None:
    for rank, result in enumerate(found):
        assert (
            f"checkpoint-{rank} is not the same file for all processes; put it where each" in result["strewn"]
        )


def test_a_batch_that_does_not_divide_is_one_line(found: list[Parts]) -> None:
    for result in found:
        assert result["uneven"] == (
            "a batch of 9 examples does not divide among 2 processes; give a batch_size that is a multiple of 2"
        )
    with pytest.raises(TrainingError, match="a batch of 7 examples does not divide among 3"):
        World(1, 3).share(torch.zeros(7, 2))


def test_an_example_that_is_not_a_number_stops_both_at_the_same_step(found: list[Parts]) -> None:
    assert found[0]["poisoned"] == found[1]["poisoned"]
    assert found[0]["poisoned"].startswith("the loss became nan in step ")


def test_dropout_differs_between_processes(found: list[Parts]) -> None:
    assert found[0]["dropped"] != found[1]["dropped"]


def test_both_processes_draw_the_same_experts_and_learn_the_same_scores(found: list[Parts]) -> None:
    assert found[0]["mixed"] == found[1]["mixed"]
    assert set(found[0]["mixed"]["experts"]) == {0, 1, 2}


@pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="the threads of a process are listed on Linux"
)
def test_a_process_that_has_left_the_others_has_no_thread_that_worked_for_them(found: list[Parts]) -> None:
    """One that lives on can abort the process when the interpreter leaves."""
    assert [len(result["threads"]) for result in found] == [1, 1], [result["threads"] for result in found]


def test_shares_of_a_batch_are_its_rows_in_order() -> None:
    batch = torch.randn(6, 2, generator=generator(0))
    assert torch.cat([World(rank, 3).share(batch) for rank in range(3)]).equal(batch)


def test_tensors_of_several_devices_are_averaged_device_by_device(monkeypatch: pytest.MonkeyPatch) -> None:
    reduced = []

    def all_reduce(flat: Tensor) -> None:
        """Two processes of which the other has three times what this one has."""
        reduced.append((flat.device.type, len(flat)))
        flat.mul_(4)

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    sent = [torch.ones(2), torch.ones(3, 2, device="meta"), torch.tensor(5.0), torch.ones(1, device="meta")]
    first, elsewhere, number, other = World(0, 2).mean(sent)
    assert reduced == [("cpu", 3), ("meta", 7)]
    assert first.tolist() == [2.0, 2.0]
    assert number.tolist() == 10.0
    assert [(t.device.type, t.shape) for t in (elsewhere, other)] == [("meta", (3, 2)), ("meta", (1,))]


def test_a_process_that_torchrun_did_not_start_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    world = init_world()
    assert (world.rank, world.size, world.main) == (0, 1, True)
    world.close()
