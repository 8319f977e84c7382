"""synflow: how much signal the weights of a network let through, without data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from nasplat.scoring import Evidence, NotApplicable, Score, Undefined, network_outputs, weighted_layers


def synflow(evidence: Evidence) -> tuple[float, Mapping[str, float]]:
    """log of the sum over convolution and linear weights of |w dR/dw|; per module the sums themselves.

    R is the sum of the outputs for one input of ones, with all parameters and buffers replaced by their absolute
    values and every batch norm bypassed, in double precision: the sum reaches 1e67 and more, so that its
    logarithm is the value. Equation 1 of "Pruning neural networks without any data by iteratively conserving synaptic
    flow" (arXiv:2006.05467), as a score in arXiv:2101.08134. Higher is better. Of the images only the shape
    counts; labels are not used. Evaluation mode, so that dropout does not disturb it.
    A dead network, where nothing reaches the output, has sum 0 and no logarithm: Undefined, to be ranked last.
    Layers that are not homogeneous (sigmoid gates, layer norms, softmax) are computed as they are, and so are weights
    that are made from parameters (weight norm): the parameters become positive.
    """
    model, images = evidence.copy(), evidence.images
    layers = weighted_layers(model)
    if not layers:
        raise NotApplicable("the network has no convolution or linear layer")
    _make_positive(model)
    ones = torch.ones(1, *images.shape[1:], dtype=torch.float64, device=images.device)
    with parametrize.cached():  # so that the weights are those that the network runs on
        weights: list[Tensor] = [layer.weight for layer in layers.values()]
        flow = _outputs(model, ones).sum()
    grads = torch.autograd.grad(flow, weights, allow_unused=True) if flow.requires_grad else ()
    sums = [0.0 if g is None else float((w.detach() * g).abs().sum()) for w, g in zip_longest(weights, grads)]
    total = sum(sums)
    if total == 0:
        raise Undefined("a dead network: no path of weights leads from the input to the output")
    if not math.isfinite(total):
        raise Undefined(f"the sum is {total}, beyond double precision")
    return math.log(total), dict(zip(layers, sums, strict=True))


def _make_positive(model: nn.Module) -> None:
    """Absolute values in double precision, in place; every parameter takes gradients."""
    model.double().eval().requires_grad_(True)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.abs_()


def _outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    try:
        with _WithoutBatchNorm():
            outputs: object = model(inputs)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise NotApplicable(f"the network does not run on one double input of ones: {reason}") from error
    return network_outputs(outputs)


class _WithoutBatchNorm(TorchFunctionMode):
    """Batch norms pass their input on, layers and functional calls alike."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        if func in (F.batch_norm, torch.batch_norm):
            return args[0] if args else kwargs["input"]
        return func(*args, **(kwargs or {}))


SCORE: Score = Score(
    name="synflow",
    direction="maximize",
    needs=frozenset({"grad"}),
    cost="one forward and one backward pass of one image in double precision",
    paper="Pruning neural networks without any data by iteratively conserving synaptic flow, arXiv:2006.05467",
    function=synflow,
)
