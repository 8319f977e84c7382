"""Networks drawn at random: nothing is lost, and permuting channels changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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

ACTIVATIONS = (torch.relu, F.gelu, torch.tanh, F.hardswish, torch.sigmoid)


@dataclass(frozen=True, slots=True)
class Step:
    """An operation on one or two of the tensors so far, counted from the last; width: of what it gives, if free."""

    kind: str
    sources: tuple[int, int]
    width: int


def plans(kinds: Iterable[str], longest: int) -> st.SearchStrategy[list[Step]]:
    sources = st.tuples(st.integers(0, 3), st.integers(0, 3))
    return st.lists(
        st.builds(Step, st.sampled_from(sorted(kinds)), sources, st.sampled_from((2, 3, 4, 6))),
        max_size=longest,
    )


class Conv(nn.Conv2d):
    """Of kernel 3 that keeps the size of maps; a class of one's own."""

    def __init__(self, inputs: int, outputs: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, 3, padding=1, groups=groups)


class Joined(nn.Module):
    """The second operand brought to the width of the first, then both put together."""

    def __init__(
        self, layer: type[nn.Module], a: int, b: int, join: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.fit, self.join = nn.Identity() if a == b else layer(b, a), join

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.join(a, self.fit(b))


class Gate(nn.Sequential):
    """Squeeze and excite."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Conv2d(width, 2, 1), nn.ReLU(), nn.Conv2d(2, width, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * super().forward(x.mean((2, 3), keepdim=True))


class Twice(nn.Module):
    """One layer in two places."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.relu(self.layer(x)))


class Plain(nn.Module):
    """A function of one tensor or two, without weights."""

    def __init__(self, run: Callable[..., Tensor]) -> None:
        super().__init__()
        self.run = run

    def forward(self, *x: Tensor) -> Tensor:
        return self.run(*x)


class Attention(nn.Module):
    """Two heads in one of four spellings."""

    def __init__(self, width: int, spelling: int) -> None:
        super().__init__()
        self.width, self.spelling = width, spelling
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        if self.spelling % 2:
            q, k, v = self.qkv(x).reshape(n, t, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        else:
            q, k, v = (y.view(n, t, 2, c // 2).transpose(1, 2) for y in self.qkv(x).split(c, dim=2))
        if self.spelling < 2:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = torch.softmax(torch.einsum("nhic,nhjc->nhij", q, k), -1) @ v
        return self.out(y.transpose(1, 2).reshape(n, t, c))


class TorchAttention(nn.MultiheadAttention):
    """Of a stream to itself."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x, x, x, need_weights=False)[0]


def chunked(x: Tensor) -> Tensor:
    first, second = x.chunk(2, 1)
    return first * torch.sigmoid(second)


def shuffled(x: Tensor) -> Tensor:
    return x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


Made = tuple[nn.Module, int]
"""A module of one or two tensors, and the width of what it gives."""

MAPS: dict[str, Callable[[Step, int, int], Made]] = {
    "conv": lambda step, a, b: (Conv(a, step.width), step.width),
    "norm": lambda step, a, b: (nn.BatchNorm2d(a), a),
    "group_norm": lambda step, a, b: (nn.GroupNorm(2 if a % 2 == 0 else 1, a), a),
    "act": lambda step, a, b: (Plain(ACTIVATIONS[step.width % 5]), a),
    "depthwise": lambda step, a, b: (Conv(a, a, groups=a), a),
    "grouped": lambda step, a, b: (Conv(a, 2 * step.width, groups=2 - a % 2), 2 * step.width),
    "transposed": lambda step, a, b: (nn.ConvTranspose2d(a, step.width, 3, padding=1), step.width),
    "add": lambda step, a, b: (Joined(Conv, a, b, torch.add), a),
    "multiply": lambda step, a, b: (Joined(Conv, a, b, torch.mul), a),
    "cat": lambda step, a, b: (Plain(lambda x, y: torch.cat([x, y], 1)), a + b),
    "gate": lambda step, a, b: (Gate(a), a),
    "halves": lambda step, a, b: (Plain(chunked), a // 2) if a % 2 == 0 else (nn.Identity(), a),
    "shuffle": lambda step, a, b: (Plain(shuffled) if a % 2 == 0 else nn.Identity(), a),
    "slice": lambda step, a, b: (Plain(lambda x: x[:, 1:]), a - 1) if a > 1 else (nn.Identity(), a),
    "twice": lambda step, a, b: (Twice(Conv(a, a)), a),
}
"""Operations on maps (n, c, 4, 4)."""

TOKENS: dict[str, Callable[[Step, int, int], Made]] = {
    "linear": lambda step, a, b: (nn.Linear(a, 2 * step.width), 2 * step.width),
    "layer_norm": lambda step, a, b: (nn.LayerNorm(a), a),
    "rms_norm": lambda step, a, b: (nn.RMSNorm(a), a),
    "act": lambda step, a, b: (Plain(ACTIVATIONS[step.width % 5]), a),
    "attention": lambda step, a, b: (Attention(a, step.width % 4), a),
    "torch_attention": lambda step, a, b: (TorchAttention(a, 2, batch_first=True), a),
    "add": lambda step, a, b: (Joined(nn.Linear, a, b, torch.add), a),
    "multiply": lambda step, a, b: (Joined(nn.Linear, a, b, torch.mul), a),
    "cat": lambda step, a, b: (Plain(lambda x, y: torch.cat([x, y], -1)), a + b),
    "glu": lambda step, a, b: (nn.Sequential(nn.Linear(a, 2 * a), nn.GLU()), a),
    "twice": lambda step, a, b: (Twice(nn.Linear(a, a)), a),
    "mean": lambda step, a, b: (Plain(lambda x: x - x.mean(1, keepdim=True)), a),
}
"""Operations on tokens (n, 4, c), c even."""


class RandomNet(nn.Module):
    """A stem, a graph of operations, and a head on the mean or on all places of what comes out."""

    def __init__(
        self,
        stem: nn.Module,
        steps: Mapping[str, Callable[[Step, int, int], Made]],
        plan: list[Step],
        flat: bool,
    ) -> None:
        super().__init__()
        self.plan, self.flat, self.stem, self.layers = plan, flat, stem, nn.ModuleList()
        self.maps, widths = isinstance(stem, nn.Conv2d), [4]
        for number, step in enumerate(plan):
            a, b = (widths[max(0, number - back)] for back in step.sources)
            layer, width = steps[step.kind](step, a, b)
            self.layers.append(layer)
            widths.append(width)
        places = 16 if self.maps else 4
        self.fc1, self.fc2 = nn.Linear(widths[-1] * places if flat else widths[-1], 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        values = [self.stem(x)]
        for number, (step, layer) in enumerate(zip(self.plan, self.layers, strict=True)):
            both = tuple(values[max(0, number - back)] for back in step.sources)
            values.append(layer(*both) if step.kind in ("add", "multiply", "cat") else layer(both[0]))
        x = values[-1]
        x = x.flatten(1) if self.flat else x.mean((2, 3) if self.maps else 1)
        return self.fc2(torch.relu(self.fc1(x)))


def check(make: Callable[[], nn.Module], shape: tuple[int, ...], seed: int) -> None:
    entry = Entry(make, (shape,), ())
    one = traced_once(entry.network(seed), entry.example(seed))
    assert one.spec.frozen == ()
    tensors, back = one.graph.tensors, returned(one.graph)
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    permutation = random_permutation(one.spec, torch.Generator().manual_seed(seed))
    permuted = with_state(one.network, permute_state(one.spec, tensors, permutation))
    torch.testing.assert_close(permuted(*one.example), one.network(*one.example), rtol=1e-9, atol=1e-9)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(plans(MAPS, 7), st.booleans(), st.integers(0, 99))
def test_random_networks_of_maps_come_back_and_keep_their_function(
    plan: list[Step], flat: bool, seed: int
) -> None:
    check(lambda: RandomNet(nn.Conv2d(3, 4, 3, padding=1), MAPS, plan, flat), (2, 3, 4, 4), seed)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(plans(TOKENS, 5), st.booleans(), st.integers(0, 99))
def test_random_networks_of_tokens_come_back_and_keep_their_function(
    plan: list[Step], flat: bool, seed: int
) -> None:
    check(lambda: RandomNet(nn.Linear(3, 4), TOKENS, plan, flat), (2, 4, 3), seed)
