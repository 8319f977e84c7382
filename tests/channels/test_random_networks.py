"""Networks drawn at random: nothing is lost, and permuting channels changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nasplat.channels.permutation import permute_state, random_permutation

from .architectures import Entry
from .conftest import traced_once
from .test_architectures import returned, with_state

KINDS = ("conv", "norm", "act", "depthwise", "grouped", "add", "multiply", "cat", "gate", "halves", "shuffle")
ACTIVATIONS = (torch.relu, F.gelu, torch.tanh, F.hardswish, torch.sigmoid)


@dataclass(frozen=True, slots=True)
class Step:
    """An operation on one or two of the tensors so far, counted from the last; width: of what it gives, if free."""

    kind: str
    sources: tuple[int, int]
    width: int


steps = st.builds(
    Step,
    st.sampled_from(KINDS),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.sampled_from((2, 3, 4, 6)),
)


class RandomNet(nn.Module):
    """A graph of operations on maps (n, c, 4, 4), and a head on their means or on all of their pixels."""

    def __init__(self, plan: list[Step], flat: bool) -> None:
        super().__init__()
        self.plan, self.flat = plan, flat
        self.stem, self.layers = nn.Conv2d(3, 4, 3, padding=1), nn.ModuleDict()
        self.widths = [4]
        for number, step in enumerate(plan):
            layer, width = self._made(step)
            self.layers[str(number)] = layer
            self.widths.append(width)
        last = self.widths[-1]
        self.fc1, self.fc2 = nn.Linear(last * 16 if flat else last, 5), nn.Linear(5, 3)

    def _place(self, step: Step, which: int) -> int:
        return max(0, len(self.widths) - 1 - step.sources[which])

    def _made(self, step: Step) -> tuple[nn.Module, int]:
        """The layer of a step, and how wide it makes its maps."""
        a, b = (self.widths[self._place(step, which)] for which in (0, 1))
        if step.kind == "conv":
            return nn.Conv2d(a, step.width, 3, padding=1), step.width
        if step.kind == "depthwise":
            return nn.Conv2d(a, a, 3, padding=1, groups=a), a
        if step.kind == "grouped" and a % 2 == 0:
            return nn.Conv2d(a, 2 * step.width, 1, groups=2), 2 * step.width
        if step.kind in ("add", "multiply"):
            return nn.Identity() if a == b else nn.Conv2d(b, a, 1), a
        if step.kind == "gate":
            return nn.Sequential(nn.Conv2d(a, 2, 1), nn.ReLU(), nn.Conv2d(2, a, 1), nn.Sigmoid()), a
        if step.kind == "norm":
            return nn.BatchNorm2d(a), a
        if step.kind == "cat":
            return nn.Identity(), a + b
        if step.kind == "halves" and a % 2 == 0:
            return nn.Identity(), a // 2
        return nn.Identity(), a

    def forward(self, x: Tensor) -> Tensor:
        values = [self.stem(x)]
        for number, step in enumerate(self.plan):
            a, b = (values[max(0, number - back)] for back in step.sources)
            values.append(self._run(step, self.layers[str(number)], number, a, b))
        x = F.max_pool2d(values[-1], 3, stride=1, padding=1)
        x = x.flatten(1) if self.flat else x.mean((2, 3))
        return self.fc2(torch.relu(self.fc1(x)))

    def _run(self, step: Step, layer: nn.Module, number: int, a: Tensor, b: Tensor) -> Tensor:
        even = self.widths[max(0, number - step.sources[0])] % 2 == 0
        if step.kind == "add":
            return a + layer(b)
        if step.kind == "multiply":
            return a * layer(b)
        if step.kind == "cat":
            return torch.cat([a, b], 1)
        if step.kind == "gate":
            return a * layer(a.mean((2, 3), keepdim=True))
        if step.kind == "act":
            return ACTIVATIONS[step.width % len(ACTIVATIONS)](a)
        if step.kind == "halves" and even:
            first, second = a.chunk(2, 1)
            return first * torch.sigmoid(second)
        if step.kind == "shuffle" and even:
            return a.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)
        return a if step.kind == "grouped" and not even else layer(a)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(steps, max_size=7), st.booleans(), st.integers(0, 99))
def test_random_networks_come_back_and_keep_their_function(plan: list[Step], flat: bool, seed: int) -> None:
    entry = Entry(lambda: RandomNet(plan, flat), ((2, 3, 4, 4),), ())
    one = traced_once(entry.network(seed), entry.example(seed))
    assert one.spec.frozen == ()
    tensors, back = one.graph.tensors, returned(one.graph)
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    permutation = random_permutation(one.spec, torch.Generator().manual_seed(seed))
    permuted = with_state(one.network, permute_state(one.spec, tensors, permutation))
    torch.testing.assert_close(permuted(*one.example), one.network(*one.example), rtol=1e-9, atol=1e-9)
