"""What the hooks of the shared passes note while activations and gradients pass by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nasplat.scoring.layers import Weighted, weighted_layers
from nasplat.scoring.reasons import NotApplicable
from nasplat.scoring.relus import Look, ReluInputs, agreement, to_cpu


@dataclass(slots=True)
class _Output:
    """A layer's output as the layer left it."""

    value: Tensor


class Recorder:
    """Hooks on a private copy that reduce what passes by to small tensors, and keep no graph.

    stage: the pass that runs. looks: for BeforeOperators. problems: gets the reason where a pass has no answer
    although it ran.
    """

    def __init__(
        self, model: nn.Module, batch: int, wanted: frozenset[str], problems: dict[str, Exception]
    ) -> None:
        self.batch, self.stage = batch, "forward"
        self.problems = problems
        self.kernels: dict[str, Tensor] = {}
        self.gates: dict[str, Tensor] = {}
        self.moments: dict[str, Tensor] = {}
        self.looks: list[Look] = []
        self.layers = weighted_layers(model)
        self._outputs: dict[int, _Output] = {}
        if "relu_kernels" in wanted:
            self.looks.append(ReluInputs(model, self._relu))
        for name, layer in self.layers.items():
            if "jacobian_correlations" in wanted:
                layer.register_forward_hook(partial(self._watch, name))
            if "gate_gradients" in wanted:
                self.gates[name] = torch.zeros(batch, len(layer.weight)).to(layer.weight)
                layer.register_forward_hook(partial(self._keep, name))
        if "gate_gradients" in wanted:
            self.looks.append(self._save)

    def correlations(self, rows: Tensor) -> dict[str, Tensor | None]:
        """Correlations between images: "" of the rows (n, ...), and those noted of the layers, in their order."""
        found = to_cpu({"": moments(rows.double()), **self.moments})
        return {name: correlation(found[name]) if name in found else None for name in ("", *self.layers)}

    def close(self) -> None:
        """Let go of layers, outputs and looks; what was noted stays."""
        for known in (self.looks, self.layers, self._outputs):
            known.clear()

    def _relu(self, name: str, x: Tensor) -> None:
        if x.ndim and len(x) == self.batch:
            self.kernels[name] = agreement(x)
        else:
            self.problems["relu_kernels"] = NotApplicable(
                f"a ReLU gets a tensor of shape {tuple(x.shape)}, its first axis is not the batch"
            )

    def _watch(self, name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        """Forward hook: ask for the gradient of a layer's output."""
        if isinstance(output, Tensor) and output.requires_grad and len(output) == self.batch:
            output.register_hook(partial(self._covary, name))  # type: ignore[no-untyped-call]

    def _covary(self, name: str, grad: Tensor) -> None:
        if self.stage == "logits":
            found = moments(grad.detach())
            self.moments[name] = self.moments[name] + found if name in self.moments else found

    def _keep(self, name: str, layer: Weighted, inputs: Any, output: Tensor) -> None:
        """Forward hook: keep a layer's output for its product with its gradient."""
        if output.requires_grad:
            kept = _Output(output.detach())
            self._outputs[output.untyped_storage().data_ptr()] = kept
            output.register_hook(partial(self._gate, name, layer, kept))  # type: ignore[no-untyped-call]

    def _save(self, func: Any, args: Sequence[Any]) -> None:
        """A look: an operator that overwrites a kept output leaves us the old values."""
        if func._schema.is_mutable and _overwrites_first(func) and isinstance(args[0], Tensor):
            kept = self._outputs.pop(args[0].untyped_storage().data_ptr(), None)
            if kept is not None:
                kept.value = kept.value.clone()

    def _gate(self, name: str, layer: Weighted, kept: _Output, grad: Tensor) -> None:
        if self.stage != "loss":
            return
        if len(grad) != self.batch:
            self.problems["gate_gradients"] = NotApplicable(
                f"{name} gives a tensor of shape {tuple(grad.shape)}, its first axis is not the batch"
            )
            return
        product = kept.value * grad.detach()
        if isinstance(layer, nn.Linear):
            self.gates[name] += product.flatten(1, -2).sum(1) if product.ndim > 2 else product
        else:
            self.gates[name] += product.flatten(2).sum(2)


def moments(rows: Tensor) -> Tensor:
    """Of rows (n, ...): products of the centred rows (n, n), and below the squared length of each mean; in doubles.

    (n + 1, n), a sum over units: the moments of several calls add up.
    """
    flat = rows.flatten(1)
    means = flat.mean(1, keepdim=True)
    centred = flat - means
    power = flat.shape[1] * means.T.double().square()
    return torch.cat([(centred @ centred.T).double(), power])


def correlation(moments: Tensor) -> Tensor | None:
    """The correlation (n, n) of rows with these moments; None where a row is constant, or nearly so by rounding."""
    products, power = moments[:-1], moments[-1]
    if bool((products.diagonal() <= 1e-10 * power).any()):  # rounding leaves about 1e-14
        return None
    scale = products.diagonal().sqrt()
    return (products / scale / scale[:, None]).clamp(-1, 1)


def _overwrites_first(func: Any) -> bool:
    alias = func._schema.arguments[0].alias_info
    return alias is not None and bool(alias.is_write)
