"""Networks of eight-bit whole numbers on the CPU, by torch's own kernels."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.compress.tracing import checked_batches, traced
from nasplat.errors import MissingExtra, NasplatError
from nasplat.measure.attention import leave_fast_path
from nasplat.measure.symbolic import plain_word


def quantise(
    module: nn.Module,
    example: Tensor | Sequence[Tensor],
    batches: Iterable[Tensor] | None = None,
    *,
    per_channel: bool = True,
) -> nn.Module:
    """An int8 copy for the CPU, after training: its operations run on torch's quantised kernels.

    With batches of inputs, static: they are run once to see the ranges of activations, norms and rectifiers are fused
    with convolutions, and what has no quantised kernel stays in float between conversions. Without, dynamic: linear
    layers alone, their inputs rounded by the range of each batch, and the module need not trace. Weights are symmetric,
    with one step for each output channel or one for the tensor. The scheme is that of arXiv:1712.05877, the tools are
    those of torch.ao.quantization. The result takes no gradients and does not move to a GPU; batches of the shape of
    `example` and other sizes fit. It is written with `save_quantised`, not with torch.save or torch.export.
    NasplatError as `traced`, and where this torch has no quantised kernels; MissingExtra where it has no such tool.
    """
    if batches is None:
        return _dynamic(module, per_channel)
    view = traced(module, example)
    _check_single(view.module)
    given = checked_batches(view.module, batches)
    for node in view.nodes:
        if plain_word(node) == "relu":  # the tool fuses this form of it only
            node.op, node.target, node.kwargs = "call_function", F.relu, {}
    view.graph.recompile()
    with _quiet():
        prepare, convert = _tools()
        prepared = prepare(view.graph.cpu(), _mapping(per_channel), _inputs(example))
        with torch.no_grad():
            for batch in given:
                prepared(batch.cpu())
        return cast(nn.Module, convert(prepared))


def _dynamic(module: nn.Module, per_channel: bool) -> nn.Module:
    """A copy with int8 linear layers."""
    if not any(type(layer) is nn.Linear for layer in module.modules()):
        raise NasplatError(
            f"{type(module).__name__} has no linear layers; give batches to quantise convolutions"
        )
    _check_single(module)
    with _quiet():
        _tools()
        ao = _torch_ao()
        weight = ao.default_per_channel_weight_observer if per_channel else ao.default_weight_observer
        config = ao.QConfig(activation=ao.default_dynamic_quant_observer, weight=weight)
        own = copy.deepcopy(module).eval().cpu()
        leave_fast_path(own)
        return cast(nn.Module, ao.quantize_dynamic(own, {nn.Linear: config}))


def _check_single(module: nn.Module) -> None:
    wrong = {name: p.dtype for name, p in module.named_parameters() if p.dtype != torch.float32}
    if wrong:
        name, kind = next(iter(wrong.items()))
        raise NasplatError(f"{name} is {kind}; int8 is made from float32, give module.float()")


def _inputs(example: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (example,) if isinstance(example, Tensor) else tuple(example)


def _tools() -> tuple[Any, Any]:
    """Prepare and convert; torch announces that they will move to a package of its own."""
    if torch.backends.quantized.engine in ("none", "NoQEngine"):
        raise NasplatError("this build of torch has no int8 kernels; install one for x86 or ARM processors")
    try:
        from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
    except ImportError as error:
        raise MissingExtra(
            f"torch {torch.__version__} has no torch.ao.quantization; install torch 2.13 or older for int8"
        ) from error
    return prepare_fx, convert_fx


def _torch_ao() -> Any:
    from torch.ao import quantization

    return quantization


def _mapping(per_channel: bool) -> Any:
    """What is observed and rounded."""
    ao = _torch_ao()
    engine = torch.backends.quantized.engine
    if per_channel:
        mapping = ao.get_default_qconfig_mapping(engine)
    else:
        default = ao.get_default_qconfig(engine)
        config = ao.QConfig(activation=default.activation, weight=ao.default_weight_observer)
        mapping = ao.QConfigMapping().set_global(config)
    return mapping.set_object_type(nn.PReLU, None)  # its int8 form keeps its numbers out of the state


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of the tool: that it will move, and how it rounds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
