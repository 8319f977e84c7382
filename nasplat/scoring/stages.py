"""The stages of the shared passes, on a private copy of a network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nasplat.scoring.blocks import block_maps
from nasplat.scoring.counts import layer_macs
from nasplat.scoring.entropy import component_entropies
from nasplat.scoring.layers import weighted_layers
from nasplat.scoring.reasons import NotApplicable, Undefined
from nasplat.scoring.recorder import Recorder
from nasplat.scoring.relus import BeforeOperators, to_cpu


class Run:
    """The stages on private copies of `source` in training mode. problems: passes that have no answer, and why."""

    def __init__(
        self, source: nn.Module, batch: tuple[Tensor, Tensor], wanted: frozenset[str], stages: frozenset[str]
    ) -> None:
        self.source, self.wanted, self.stages = source, wanted, stages
        self.images, self.labels = batch[0].detach(), batch[1]
        self.found: dict[str, Any] = {}
        self.problems: dict[str, Exception] = {}

    def forward(self) -> None:
        """Outputs, with what the hooks note on the way."""
        model = copy.deepcopy(self.source).train().requires_grad_(False)
        if "logits" in self.stages and self.images.is_floating_point():
            self.images.requires_grad_()
        graph = not self.stages.isdisjoint({"logits", "loss"})
        layers = weighted_layers(model)
        with parametrize.cached():  # so that a parametrized weight is one tensor, made once whoever asks
            self.recorder = Recorder(model, len(self.images), self.wanted, self.problems)
            watch = BeforeOperators(self.recorder.looks) if self.recorder.looks else nullcontext()
            self.weights: dict[str, Tensor] = {name: layer.weight for name, layer in layers.items()}
            for weight in self.weights.values():
                weight.requires_grad_("loss" in self.stages)
            with torch.set_grad_enabled(graph), watch:
                self.outputs = model(self.images.clone())  # it may overwrite its input
            self.recomputed = [
                name for name, layer in layers.items() if layer.weight is not self.weights[name]
            ]
        self.found["outputs"] = self.outputs.detach() if isinstance(self.outputs, Tensor) else self.outputs
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
        if self.recomputed:
            raise NotApplicable(
                f"{self.recomputed[0]} makes its weight anew at each call: it has no gradient of its own"
            )
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
        if "torch::autograd::Error" in operators(
            product
        ):  # on no path to a weight, autograd would not notice
            raise NotApplicable("an operator is once differentiable: H g would lack what passes through it")
        products = gradients(product, list(self.weights.values()))
        self.found["hessian_gradients"] = dict(zip(self.weights, products, strict=True))

    def count(self) -> None:
        """Multiply-adds, from shapes alone."""
        self.found["macs"] = layer_macs(copy.deepcopy(self.source), self.images)

    def blocks(self) -> None:
        """The maps between the blocks, on a copy with other weights and images."""
        maps = self.found["block_maps"] = block_maps(copy.deepcopy(self.source).train(), self.images)
        if "block_entropies" in self.wanted:
            try:
                self.found["block_entropies"] = component_entropies(maps)
            except Undefined as error:  # the maps are there all the same
                self.problems["block_entropies"] = error

    def close(self) -> None:
        """Let go of the graph and the copy now: hooks tie them into cycles that only the garbage collector undoes."""
        for name in self.__dict__.keys() & {"outputs", "live", "weights"}:
            delattr(self, name)
        if "recorder" in self.__dict__:
            self.recorder.close()


STAGES: dict[str, Callable[[Run], None]] = {
    "count": Run.count,
    "blocks": Run.blocks,
    "forward": Run.forward,
    "logits": Run.logits,
    "loss": Run.loss,
    "curvature": Run.curvature,
}
"""In the order in which they run; from "forward" on they keep its graph."""


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


def operators(value: Tensor) -> set[str]:
    """Names of all operators in the graph of a tensor."""
    found, left, names = set(), [value.grad_fn], set()
    while left:
        node = left.pop()
        if node is not None and node not in found:
            found.add(node)
            names.add(node.name())
            left.extend(following for following, _ in node.next_functions)
    return names
