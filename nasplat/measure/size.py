"""Parameters and multiply-adds of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def count_params(module: nn.Module) -> int:
    """Number of trainable parameters; a shared one counts once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def count_macs(module: nn.Module, example: Tensor) -> int:
    """Multiply-adds of convolutions and matrix products (linear layers, attention) for one input.

    Biases, norms, activations, pooling and fused recurrent kernels count nothing, as is usual in the field;
    FLOPs are twice this. example: (n, ...) on any device, of which the first row is used. The pass computes shapes only
    (fake tensors, evaluation mode): it is cheap and leaves the module as it was, and a forward that branches
    on values cannot be counted.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    shapes = FakeTensorMode(allow_non_fake_inputs=True)
    state = [*module.named_parameters(), *module.named_buffers()]  # one of two names is given for both
    fakes: dict[str, Tensor] = {name: shapes.from_tensor(tensor.detach()) for name, tensor in state}
    device = next((tensor.device for _, tensor in state), example.device)
    with evaluating(module), shapes, counted_macs() as so_far:
        torch.func.functional_call(module, fakes, (shapes.from_tensor(example[:1]).to(device),))
        return so_far()


@contextmanager
def counted_macs() -> Iterator[Callable[[], int]]:
    """A function that says how many multiply-adds were computed in the block so far, without gradients."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _Nobody()  # type: ignore[assignment]
    with visible_attention(), torch.no_grad(), counter:
        yield lambda: int(counter.get_total_flops()) // 2


class _Nobody:
    """Instead of torch's tracker of modules, which takes most of the time of a count; the total needs none."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards every submodule is in the mode that it had."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextmanager
def visible_attention() -> Iterator[None]:
    """Attention as plain matrix products: the counter does not know the fused kernels of every device."""
    from torch.backends import mha
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        mha.set_fastpath_enabled(fast)
