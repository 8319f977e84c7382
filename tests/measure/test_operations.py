"""Operations of networks: what they are called, that they are all there, and how their costs add up."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from nasplat.errors import NasplatError
from nasplat.measure import DeviceInfo, OperationCosts, Repeats, device_info, measure_operations, operations

QUICK = Repeats(minimum=5, warmup_s=0.0, budget_s=0.0)
IMAGES = torch.randn(2, 3, 8, 8)


class Twice(nn.Module):
    """One convolution that runs twice, with a sum and a ReLU."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x) + self.conv(x))


class Restless(nn.Module):
    """One operation more each time."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        for _ in range(self.calls):
            x = x + 1
        return x


def kinds(names: list[str]) -> list[str]:
    return [name.split(".")[0] for name in names]


def test_every_operation_is_named_in_the_order_in_which_they_run() -> None:
    names = operations(Twice(), IMAGES)
    assert kinds(names) == ["conv2d", "conv2d", "add", "relu"]
    assert names[0] == names[1]
    assert "float32[2, 3, 8, 8]" in names[0]
    assert "float32[3, 3, 3, 3]" in names[0]


def test_other_shapes_and_arguments_are_other_operations() -> None:
    plain = set(operations(nn.Conv2d(3, 4, 3), IMAGES))
    for other in (nn.Conv2d(3, 5, 3), nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(3, 4, 1)):
        assert plain.isdisjoint(operations(other, IMAGES))
    assert plain == set(operations(nn.Conv2d(3, 4, 3), torch.zeros(2, 3, 8, 8)))


def test_the_network_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
    net[1].eval()
    before = copy.deepcopy(net.state_dict())
    operations(net, IMAGES)
    measure_operations([net], IMAGES, repeats=QUICK)
    assert [net.training, net[1].training, net[2].training] == [True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_networks_of_known_operations_are_told_without_being_timed() -> None:
    deep = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(7)))
    networks = [Twice(), *(Twice() for _ in range(8)), deep, Twice(5)]
    costs, names = measure_operations(networks, IMAGES, repeats=QUICK)
    assert costs.networks == 6  # the first five, and the one of another width
    assert [len(each) for each in names] == [4] * 9 + [7, 4]
    (conv,) = set(names[9])
    assert costs.total(names[9]) == pytest.approx(7 * (costs.costs[conv] + costs.call_ms))
    assert costs.device == device_info("cpu")


def test_a_total_is_the_sum_of_costs_and_calls() -> None:
    costs = OperationCosts({"a": 2.0, "b": 0.5}, 0.25, 1, DeviceInfo("none", "cpu", "", "", 1))
    assert costs.total(["a", "b", "a"]) == 2 + 0.5 + 2 + 3 * 0.25
    with pytest.raises(NasplatError, match="operation c was not measured"):
        costs.total(["a", "c"])


def test_more_work_costs_more() -> None:
    networks = [nn.Conv2d(3, 4, 1), nn.Conv2d(3, 400, 5)]
    costs, _ = measure_operations(networks, torch.randn(4, 3, 32, 32), repeats=QUICK)
    small, large = sorted(costs.costs.values())
    assert large > 5 * small


@pytest.mark.parametrize(
    ("networks", "line"), [([], "no networks were given"), ([Restless()], "runs other operations each time")]
)
def test_what_has_no_costs_is_refused(networks: list[nn.Module], line: str) -> None:
    with pytest.raises(NasplatError, match=line):
        measure_operations(networks, IMAGES, repeats=QUICK)
