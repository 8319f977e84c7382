"""nwot: how differently the ReLUs of an untrained network answer to different images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nasplat.scoring import NotApplicable, Score, Undefined


def nwot(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, Mapping[str, float]]:
    """log|K|, K_ij the number of ReLU units on which images i and j agree (both active or both not).

    K = sum over ReLUs of b b^T + (1 - b)(1 - b)^T, b (n, units) the signs of the ReLU's input. "Neural Architecture
    Search without Training" (arXiv:2006.04647, equation 2). Higher is better. images (n, ...); labels are not used.
    Training mode: batch norms use the batch. Every ReLU that runs counts once per call, whether a layer or a
    functional call, and so do ReLU6, leaky and parametric ones, as in the authors' code.
    Counts are exact. Per module: tr(K^-1 K_l), the change of log|K| per relative change of this ReLU's own
    kernel K_l; these sum to n. Undefined when K is singular: equal images, or fewer patterns than images.
    """
    kernels = _kernels(model, images)
    if not kernels:
        raise NotApplicable("the network has no ReLU")
    kernel = torch.stack(list(kernels.values())).sum(dim=0)
    values, vectors = torch.linalg.eigh(kernel)
    if values[0] <= len(kernel) * torch.finfo(values.dtype).eps * values[-1]:
        raise Undefined(_singularity(kernel))
    inverse = (vectors / values) @ vectors.T
    return float(values.log().sum()), {name: float((inverse * k).sum()) for name, k in kernels.items()}


def _kernels(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """The agreement counts (n, n) of each ReLU, in double precision on the CPU."""
    watch = _ReluSigns(len(images))
    for name, module in model.named_modules():
        module.register_forward_pre_hook(partial(watch.enter, name))
        module.register_forward_hook(watch.leave)
    with torch.no_grad(), watch:
        model(images)
    return watch.kernels


def agreement(active: Tensor) -> Tensor:
    """Number of units (n, n) on which rows of `active` (n, ...) agree; exact, in double precision on the CPU.

    units - |b_i| - |b_j| + 2 b_i.b_j: one product in single precision, which counts exactly up to 2^24 units.
    """
    rows = active.flatten(1)
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for part in torch.split(rows, 2**24, dim=1):
        both = (part.float() @ part.float().T).double().cpu()
        ones = both.diagonal()
        total += part.shape[1] - ones[:, None] - ones[None, :] + 2 * both
    return total


class _ReluSigns(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every ReLU that runs, under the name of the module that calls it."""

    def __init__(self, batch: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.batch = batch
        self.path: list[str] = []
        self.kernels: dict[str, Tensor] = {}

    def enter(self, name: str, *_: Any) -> None:
        self.path.append(name)

    def leave(self, *_: Any) -> None:
        self.path.pop()

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        if _is_relu(func, args):
            self._note(args[0])  # before it runs: it may work in place
        return func(*args, **(kwargs or {}))

    def _note(self, x: Tensor) -> None:
        if not x.ndim or len(x) != self.batch:
            raise NotApplicable(
                f"a ReLU gets a tensor of shape {tuple(x.shape)}, its first axis is not the batch"
            )
        name = self.path[-1] if self.path else ""
        calls = sum(known.split("#")[0] == name for known in self.kernels)
        self.kernels[f"{name}#{calls + 1}" if calls else name] = agreement(x > 0)


def _is_relu(func: Any, args: Sequence[Any]) -> bool:
    name = func.overloadpacket.__name__.rstrip("_")
    return name in RELUS or (
        name == "hardtanh" and len(args) > 1 and args[1] == 0
    )  # ReLU6 is hardtanh from 0


RELUS = frozenset({"relu", "leaky_relu", "prelu", "_prelu_kernel", "rrelu_with_noise"})


def _singularity(kernel: Tensor) -> str:
    """Why the determinant is zero: the first two images with equal patterns, else too few units."""
    same = (kernel == kernel.diagonal()[:, None]).triu(1).nonzero()
    if len(same):
        first, second = same[0].tolist()
        return f"the kernel is singular: images {first} and {second} have the same ReLU pattern"
    rank = int(torch.linalg.matrix_rank(kernel, hermitian=True))
    return f"the kernel is singular: {len(kernel)} images, but its rank is {rank}"


SCORE: Score = Score(
    name="nwot",
    direction="maximize",
    needs=frozenset({"data"}),
    cost="one forward pass",
    paper="Neural Architecture Search without Training, arXiv:2006.04647",
    function=nwot,
)
