"""The ReLUs of a network, layers and functional calls alike: their inputs, and on how many units images agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

Look = Callable[[Any, Sequence[Any]], None]

NAMES = "relu relu_ leaky_relu leaky_relu_ prelu _prelu_kernel rrelu_with_noise rrelu_with_noise_"
RELUS = frozenset(getattr(torch.ops.aten, name) for name in NAMES.split())
CLIPS = frozenset({torch.ops.aten.hardtanh, torch.ops.aten.hardtanh_})


class BeforeOperators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside the block, every look is called with each operator and its arguments before it runs."""

    def __init__(self, looks: Sequence[Look]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.looks = tuple(looks)

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        for look in self.looks:
            look(func, args)
        return func(*args, **(kwargs or {}))


class ReluInputs:
    """A look that hands on the input of every ReLU of a network, with the name of the module that calls it.

    `note(name, x)` comes before the ReLU runs, which may work in place; later calls of one module are
    "name#2", "name#3". ReLU6, leaky and parametric ones count. The network gets hooks: give a private copy.
    """

    def __init__(self, model: nn.Module, note: Callable[[str, Tensor], None]) -> None:
        self.note = note
        self.path: list[str] = []
        self.calls: Counter[str] = Counter()
        for name, module in model.named_modules():
            module.register_forward_pre_hook(partial(self._enter, name))
            module.register_forward_hook(self._leave)

    def __call__(self, func: Any, args: Sequence[Any]) -> None:
        kind = func.overloadpacket
        if kind in RELUS or (kind in CLIPS and len(args) > 1 and args[1] == 0):  # ReLU6 is hardtanh from 0
            name = self.path[-1] if self.path else ""
            self.calls[name] += 1
            self.note(name if self.calls[name] == 1 else f"{name}#{self.calls[name]}", args[0])

    def _enter(self, name: str, *_: Any) -> None:
        self.path.append(name)

    def _leave(self, *_: Any) -> None:
        self.path.pop()


def agreement(x: Tensor) -> Tensor:
    """Number of units (n, n) on which rows of `x` (n, ...) agree: both above zero, or both not. Exact, in doubles.

    b the signs: units - |b_i| - |b_j| + 2 b_i.b_j; one product in single precision counts up to 2^24 units exactly.
    """
    total = torch.zeros(len(x), len(x), dtype=torch.float64, device=x.device)
    for part in torch.split(x.detach().flatten(1), 2**24, dim=1):
        signs = torch.empty(part.shape, device=x.device)
        torch.gt(part, 0, out=signs)  # straight to numbers: half the time of a comparison and a cast
        both = (signs @ signs.T).double()
        ones = both.diagonal()
        total += part.shape[1] - ones[:, None] - ones[None, :] + 2 * both
    return total


def to_cpu(matrices: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of one shape, moved together: a GPU waits for the CPU once."""
    if not matrices:
        return {}
    return dict(zip(matrices, torch.stack(list(matrices.values())).cpu(), strict=True))
