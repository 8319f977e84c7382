"""The latency protocol: what it reports, what it leaves alone, when it calls a result noisy."""

from __future__ import annotations

import copy
import time

import pytest
import torch
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.measure import NOISY_SPREAD, Repeats, measure_latency
from nasplat.measure.latency import _uncertainty

QUICK = Repeats(minimum=20, warmup_s=0.0, budget_s=0.1)


class Sleeping(nn.Module):
    """Takes the given milliseconds in turn."""

    def __init__(self, *turns_ms: float) -> None:
        super().__init__()
        self.turns_ms, self.calls = turns_ms, 0

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.turns_ms[self.calls % len(self.turns_ms)] / 1e3)
        self.calls += 1
        return x


def test_a_network_that_takes_four_milliseconds_is_measured_so() -> None:
    result = measure_latency(Sleeping(4.0), torch.zeros(1, 1), repeats=QUICK)
    assert 4.0 <= result.median_ms < 6.0
    assert result.n >= 20
    assert result.protocol["inner_loops"] == 1


def test_a_restless_network_is_flagged_as_noisy() -> None:
    result = measure_latency(Sleeping(1.0, 3.0), torch.zeros(1, 1), repeats=QUICK)
    assert result.iqr_ms > NOISY_SPREAD * result.median_ms
    assert result.noisy


def test_a_tiny_network_is_timed_in_inner_loops() -> None:
    result = measure_latency(nn.Identity(), torch.zeros(1, 1), repeats=QUICK)
    assert result.protocol["inner_loops"] > 10
    assert 0 < result.median_ms < 0.5


def test_more_work_takes_longer() -> None:
    small, large = nn.Linear(8, 8), nn.Sequential(*[nn.Linear(1000, 1000) for _ in range(4)])
    quick = measure_latency(small, torch.randn(1, 8), repeats=QUICK).median_ms
    assert measure_latency(large, torch.randn(32, 1000), repeats=QUICK).median_ms > 3 * quick


def test_the_caller_keeps_module_mode_gradients_and_threads() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    net[1].eval()
    before, threads = copy.deepcopy(net.state_dict()), torch.get_num_threads()
    result = measure_latency(net, torch.randn(2, 1, 5, 5), threads=2, dtype=torch.float64, repeats=QUICK)
    assert result.protocol["threads"] == 2
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()
    assert net.training
    assert not net[1].training
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert tensor.dtype == before[name].dtype


def test_the_protocol_names_what_was_chosen() -> None:
    net, example = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 6, 6)
    protocol = measure_latency(net, example, channels_last=True, dtype=torch.bfloat16, repeats=QUICK).protocol
    assert protocol["memory_format"] == "channels_last"
    assert protocol["dtype"] == "bfloat16"
    assert protocol["batch"] == 2
    assert protocol["input_shape"] == [3, 6, 6]
    assert protocol["clock"] == "perf_counter_ns"
    assert protocol["repeats"] >= 20


def test_the_network_sees_the_memory_format_the_type_and_evaluation_mode() -> None:
    seen: list[tuple[bool, torch.dtype, bool]] = []

    class Watching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            row = (x.is_contiguous(memory_format=torch.channels_last), x.dtype, self.training)
            seen.append(row)
            return x

    x = torch.zeros(1, 2, 3, 3)
    measure_latency(Watching().train(), x, dtype=torch.float16, channels_last=True, repeats=QUICK)
    assert set(seen) == {(True, torch.float16, False)}


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_network_of_either_memory_format_is_measured_in_the_one_that_was_asked_for(
    channels_last: bool,
) -> None:
    seen: set[bool] = set()

    class Watching(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            seen.add(self.weight.is_contiguous(memory_format=torch.channels_last))
            return super().forward(x)

    for layout in (torch.channels_last, torch.contiguous_format):
        net = Watching(3, 4, 3).to(memory_format=layout)
        measure_latency(net, torch.zeros(1, 3, 4, 4), channels_last=channels_last, repeats=QUICK)
        assert net.weight.is_contiguous(memory_format=layout), "the module itself stays as it was"
    assert seen == {channels_last}


def test_the_median_of_many_equal_samples_is_certain_and_of_few_scattered_ones_is_not() -> None:
    assert _uncertainty([2.0] * 20) == 0.0
    assert _uncertainty([1.0, 3.0] * 10) == pytest.approx(0.5)


def test_no_threads_are_refused_in_one_line() -> None:
    with pytest.raises(NasplatError, match="threads = 0"):
        measure_latency(nn.Identity(), torch.zeros(1), threads=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_timed_with_its_own_events() -> None:
    net = nn.Conv2d(3, 64, 3)
    result = measure_latency(net, torch.randn(8, 3, 64, 64), device="cuda:0", dtype=torch.float16)
    assert result.protocol["clock"] == "cuda events"
    assert result.device.kind == "cuda"
    assert result.median_ms > 0
    assert next(net.parameters()).device.type == "cpu"
