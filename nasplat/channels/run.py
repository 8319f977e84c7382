"""A traced network run on numbers of neurons instead of values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from nasplat.channels.ledger import Ledger
from nasplat.channels.spec import Frozen
from nasplat.channels.values import NONE, Activation, Weight, bare, carriers, mapped, spread
from nasplat.measure.symbolic import Traced

UNKNOWN = "what it does to channels is not known"

Rule: TypeAlias = Callable[..., Any]
"""`rule(run, call) -> result`, the result of the call as activations and weights."""


class Call:
    """One operation of the network: its plain name, arguments with activations in them, and result without data.

    name: of the node in the graph; of the module, where the node calls one. operation: "conv2d", "add", "view" and the
    like for functions, methods and ATen operations; the class of a module.
    """

    def __init__(
        self, name: str, operation: str, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ):
        self.name, self.operation, self.target = name, operation, target
        self.args, self.kwargs = args, dict(kwargs)
        self.value: Any = None

    def argument(self, place: int, word: str, default: Any = None) -> Any:
        """An argument by place or by word."""
        return self.args[place] if place < len(self.args) else self.kwargs.get(word, default)


class Run(fx.Interpreter):
    """Follows neurons through a graph and writes down what it finds.

    rules: by operation; what has none and reads no neuron or weight is computed as it is, and what has none and reads
    some freezes them. modules: rules for layers that are called as a whole, by class name.
    """

    running: fx.Node

    def __init__(
        self,
        traced: Traced,
        rules: Mapping[str, Rule],
        modules: Mapping[str, Rule],
        tensors: Mapping[str, Tensor],
        keep_places: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(traced.graph)
        self.ledger, self.rules, self.layers, self.tensors = Ledger(), rules, modules, tensors
        self.keep_places = keep_places
        self.held, self.constants = traced.held, traced.constants
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.names: dict[int, str] = {}
        self.read: set[str] = set()
        for name, tensor in tensors.items():
            self.names.setdefault(id(tensor), name)
        self.shapes = {name: tensor.shape for name, tensor in tensors.items()}

    def weight(self, tensor: Tensor) -> Weight | Tensor:
        """A parameter or buffer by its name, without data; any other tensor as it is."""
        name = self.names.get(id(tensor))
        if name is None or (not tensor.ndim and not tensor.is_floating_point()):
            return tensor
        self.read.add(name)
        return Weight(name, self.mode.from_tensor(tensor))

    def run_node(self, n: fx.Node) -> Any:
        self.running = n
        result = super().run_node(n)
        return mapped(result, _read_twice) if len(n.users) > 1 else result

    def placeholder(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = super().placeholder(target, args, kwargs)
        if target in self.held and not self.running.users:
            return None
        if target in self.held:
            return self.weight(self.tensors[self.held[str(target)]])
        if target in self.constants:
            return self.constants[str(target)]
        return self.entered(str(target), value) if isinstance(value, Tensor) else value

    def entered(self, name: str, value: Tensor) -> Activation | Tensor:
        """A tensor from outside: one neuron for each element of one example; whole numbers as they are."""
        if not value.is_floating_point() or not value.ndim:
            return value
        fake = self.mode.from_tensor(value)
        row = self.ledger.row(name, "input", value[0].numel())
        self.ledger.loose.append(row)
        self.ledger.ends["input"].append(row.numbers)
        return Activation(fake, row.numbers.reshape(value.shape[1:]).expand(value.shape))

    def get_attr(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = super().get_attr(target, args, kwargs)
        return self.weight(value) if isinstance(value, Tensor) else value

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module = self.fetch_attr(target)
        call = Call(str(target), type(module).__name__, module, args, kwargs)
        return self.apply(call, self.layers.get(call.operation))

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = Call(self.running.name, plain_name(target), target, args, kwargs)
        return self.apply(call, self.rules.get(call.operation))

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = Call(self.running.name, plain_name(target), getattr(Tensor, str(target)), args, kwargs)
        return self.apply(call, self.rules.get(call.operation))

    def output(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.ledger.ends["output"].extend(
            one.numbers.unique() for one in carriers(args) if isinstance(one, Activation)
        )
        return super().output(target, args, kwargs)

    def apply(self, call: Call, rule: Rule | None) -> Any:
        """The result of a call: shapes and sizes as they are, tensors with their numbers."""
        args, kwargs = bare(call.args), bare(call.kwargs)
        reads = isinstance(call.target, torch.nn.Module) and any(True for _ in call.target.parameters())
        shapes_only = reads or any(isinstance(one, FakeTensor) for one in _leaves((args, kwargs)))
        with self.mode if shapes_only else nullcontext(), torch.no_grad():
            call.value = (
                torch.empty_like(args[0]) if _keeps_shape(call.target, args) else call.target(*args, **kwargs)
            )
        carried = reads or any(True for _ in carriers((call.args, call.kwargs)))
        if not carried or not any(isinstance(one, Tensor) for one in _leaves(call.value)):
            return call.value
        going_in = [one for one in carriers((call.args, call.kwargs)) if isinstance(one, Activation)]
        result = self.followed(call, rule)
        if not (isinstance(result, Activation) and result.uniform):
            for one in going_in:
                self.ledger.read(one.numbers)
        return result

    def followed(self, call: Call, rule: Rule | None) -> Any:
        """What a rule says of a call; what has none is not known."""
        if rule is None:
            return self.unknown(call, UNKNOWN)
        if call.operation not in self.keep_places:
            call.args, call.kwargs = mapped((call.args, call.kwargs), partial(self._without_places, call))
        return rule(self, call)

    def _without_places(self, call: Call, carrier: Activation | Weight) -> Activation | Weight:
        """Neurons of places meet what is not known to have the same places: their order has a meaning."""
        if isinstance(carrier, Weight) or carrier.places is None:
            return carrier
        self.ledger.freeze(
            [carrier.places], Frozen(call.name, call.operation, "places of channels keep their order")
        )
        return replace(carrier, places=None)

    def unknown(self, call: Call, reason: str) -> Any:
        """Freezes all that goes into a call; what comes out belongs to frozen neurons.

        What is computed from parameters alone freezes what it meets later.
        """
        carried = list(carriers((call.args, call.kwargs)))
        going_in = [one for one in carried if isinstance(one, Activation)]
        if carried and not going_in:
            return self.computed(call, [one for one in carried if isinstance(one, Weight)])
        for one in carried:
            if isinstance(one, Weight):
                self.ledger.mixed.append((one.name, Frozen(call.name, call.operation, reason)))
        why = Frozen(call.name, call.operation, reason)
        self.ledger.freeze([one.numbers for one in going_in], why)
        return mapped_tensors(call.value, lambda value: self._opaque(call, value, going_in, why))

    def computed(self, call: Call, weights: list[Weight]) -> Any:
        """From several elements of parameters: which of them belong to which channel is no longer known."""
        why = Frozen(call.name, call.operation, "several elements of a parameter enter")
        self.ledger.computed.extend((one.name, why) for one in weights)
        return mapped_tensors(call.value, lambda value: Weight(weights[0].name, value, None, True))

    def _opaque(self, call: Call, value: Tensor, going_in: list[Activation], why: Frozen) -> Any:
        for one in going_in:
            if one.value.shape == value.shape:
                return Activation(value, one.numbers)
        if not value.ndim:
            return Activation(value, torch.tensor(NONE))
        axis = 1 if value.ndim > 3 else -1
        row = self.ledger.row(call.name, "opaque", value.shape[axis])
        self.ledger.freeze([row.numbers], why)
        return Activation(value, spread(row.numbers, value.shape, axis))


def _keeps_shape(target: Any, args: tuple[Any, ...]) -> bool:
    """Whether a norm that keeps the shape of what it fits is called: its own shapes take milliseconds to compute."""
    norm = isinstance(target, torch.nn.modules.batchnorm._BatchNorm) and len(args) == 1
    return norm and args[0].ndim > 1 and args[0].shape[1] == target.num_features


def numbers_of(value: Any, shape: torch.Size) -> Tensor:
    """The numbers of an operand, spread over the shape of the result; NONE for constants."""
    if isinstance(value, Activation):
        return value.numbers.expand(shape)
    return torch.tensor(NONE).expand(shape)


def mapped_tensors(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """A result with every tensor in it changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped_tensors(one, change) for one in value))
    if isinstance(value, tuple | list) and not isinstance(value, torch.Size):
        return type(value)(mapped_tensors(one, change) for one in value)
    return value


def plain_name(target: Any) -> str:
    """The word of a function, method or ATen operation: "conv2d", "add", "relu" for `relu_` also."""
    if isinstance(target, torch._ops.OpOverload):
        target = target.overloadpacket
    name = target if isinstance(target, str) else str(getattr(target, "__name__", target))
    return name if name.startswith("__") else name.strip("_")


def _read_twice(carrier: Activation | Weight) -> Activation | Weight:
    return carrier.read_twice() if isinstance(carrier, Activation) else carrier


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return _leaves(list(value.values()))
    if isinstance(value, tuple | list) and not isinstance(value, torch.Size):
        return [leaf for one in value for leaf in _leaves(one)]
    return [value]
