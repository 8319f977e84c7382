"""The stages of the shared passes, on a private copy of a network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.scoring.blocks import block_maps
from nasplat.scoring.layers import weighted_layers
from nasplat.scoring.reasons import NotApplicable
from nasplat.scoring.recorder import Recorder
from nasplat.scoring.relus import BeforeOperators, to_cpu


class Run:
    """A private copy of `source` in training mode, on its way through the stages."""

    def __init__(
        self, source: nn.Module, batch: tuple[Tensor, Tensor], wanted: frozenset[str], stages: frozenset[str]
    ) -> None:
        self.source, self.wanted, self.stages = source, wanted, stages
        self.model = model = copy.deepcopy(source).train()
        self.images, self.labels = batch[0].detach(), batch[1]
        self.found: dict[str, Any] = {}
        self.recorder = Recorder(model, len(self.images), wanted)
        self.weights: dict[str, Tensor] = {
            name: layer.weight for name, layer in weighted_layers(model).items()
        }
        model.requires_grad_(False)
        for weight in self.weights.values():
            weight.requires_grad_("loss" in stages)

    def forward(self) -> None:
        """Outputs, with what the hooks note on the way."""
        graph = bool(self.stages - {"forward", "blocks"})
        if "logits" in self.stages and self.images.is_floating_point():
            self.images.requires_grad_()
        watch = BeforeOperators(self.recorder.looks) if self.recorder.looks else nullcontext()
        with torch.set_grad_enabled(graph), watch:
            outputs = self.model(self.images.clone())  # a network may overwrite its input
        self.outputs = outputs
        self.found["outputs"] = outputs.detach() if isinstance(outputs, Tensor) else outputs
        self.found["relu_kernels"] = to_cpu(self.recorder.kernels)

    def logits(self) -> None:
        """The gradient of the sum of logits with respect to the images and to the outputs of all layers."""
        self.recorder.stage = "logits"
        if not self.images.requires_grad:
            raise NotApplicable(f"inputs of type {self.images.dtype} have no gradient")
        total = network_outputs(self.outputs).sum()
        (rows,) = gradients(total, [self.images], retain_graph=True)
        self.found["jacobian_correlations"] = self.recorder.correlations(rows)

    def loss(self) -> None:
        """The gradient of the mean cross entropy with respect to all weights."""
        self.recorder.stage = "loss"
        curved = "hessian_gradients" in self.wanted
        grads = gradients(
            classifier_loss(self.outputs, self.labels), list(self.weights.values()), create_graph=curved
        )
        self.live = grads
        self.found["weight_gradients"] = {n: g.detach() for n, g in zip(self.weights, grads, strict=True)}
        self.found["gate_gradients"] = self.recorder.gates

    def curvature(self) -> None:
        """The gradient of g.detach() * g, which is H g."""
        self.recorder.stage = "curvature"
        product = sum(((g.detach() * g).sum() for g in self.live if g.requires_grad), torch.zeros(()))
        products = gradients(product, list(self.weights.values()))
        self.found["hessian_gradients"] = dict(zip(self.weights, products, strict=True))

    def blocks(self) -> None:
        """The maps between the blocks, on a copy with other weights and images."""
        self.found["block_maps"] = block_maps(copy.deepcopy(self.source).train(), self.images)


STAGES: dict[str, Callable[[Run], None]] = {
    "forward": Run.forward,
    "logits": Run.logits,
    "loss": Run.loss,
    "curvature": Run.curvature,
    "blocks": Run.blocks,
}
"""In the order in which they run: what the last one leaves of the graph is freed with it."""


def classifier_loss(outputs: object, labels: Tensor) -> Tensor:
    """Mean cross entropy of outputs (n, classes) and labels (n,). Raises NotApplicable as class_outputs does."""
    return F.cross_entropy(class_outputs(outputs, labels), labels)


def class_outputs(outputs: object, labels: Tensor) -> Tensor:
    """The outputs (n, classes) of a classifier. Raises NotApplicable where they do not fit labels (n,)."""
    logits = network_outputs(outputs)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise NotApplicable(
            f"not a classifier: outputs {tuple(logits.shape)} and labels {tuple(labels.shape)}, not (n, classes), (n,)"
        )
    if labels.is_floating_point() or not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        raise NotApplicable(f"the labels are no classes 0 to {logits.shape[1] - 1}")
    return logits


def network_outputs(outputs: object) -> Tensor:
    """The outputs as one tensor. Raises NotApplicable for anything else."""
    if not isinstance(outputs, Tensor):
        raise NotApplicable(f"the network returns a {type(outputs).__name__}, not one tensor")
    return outputs


def gradients(
    value: Tensor, inputs: Sequence[Tensor], *, retain_graph: bool = False, create_graph: bool = False
) -> tuple[Tensor, ...]:
    """The gradients of a scalar; zeros for inputs that it does not depend on. create_graph retains the graph, too."""
    if not value.requires_grad or not inputs:
        return tuple(torch.zeros_like(x) for x in inputs)
    retain = retain_graph or create_graph
    return torch.autograd.grad(
        value, inputs, retain_graph=retain, create_graph=create_graph, materialize_grads=True
    )
