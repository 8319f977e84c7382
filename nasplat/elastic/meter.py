"""What every layer of an elastic network costs in an architecture, and which choices it reads for that.

The network runs without storage. A module that meets inputs of known shapes, and known values of all choices that it
ever read, does not run again: so thousands of architectures are metered in seconds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nasplat.elastic.layers.batch_norms import ElasticBatchNorm2d, ElasticBatchStatistics2d
from nasplat.elastic.layers.group_norms import ElasticEvoNorm2d, ElasticGroupNorm, ElasticLayerNorm
from nasplat.elastic.space import ElasticSpace
from nasplat.elastic.weights.sources import WeightSource
from nasplat.errors import NasplatError
from nasplat.measure.size import counted_macs
from nasplat.space import Arch, Value

KEEPING = (
    *(ElasticBatchNorm2d, ElasticBatchStatistics2d, ElasticGroupNorm, ElasticEvoNorm2d, ElasticLayerNorm),
    *(nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid),
    *(nn.Dropout, nn.Identity),
)
"""Layers that keep the shape and cost no multiply-adds: they are passed over, being slow without storage."""


class Watched(Arch):
    """An architecture that tells which choices are read: all of them where it is listed, or a key of a table."""

    __slots__ = ("_every", "_tell")

    _every: frozenset[str]
    _tell: Callable[[Iterable[str]], None]

    def __init__(self, arch: Arch, every: frozenset[str], tell: Callable[[Iterable[str]], None]) -> None:
        super().__init__(arch)
        object.__setattr__(self, "_every", every)
        object.__setattr__(self, "_tell", tell)

    def __getitem__(self, name: str) -> Value:
        self._tell((name,))
        return super().__getitem__(name)

    def peek(self, names: Iterable[str]) -> tuple[Hashable, ...]:
        """The values, without telling; the class itself stands for an inactive choice."""
        return tuple(self._values.get(name, Watched) for name in names)

    def __iter__(self) -> Iterator[str]:
        self._tell(self._every)
        return super().__iter__()

    def __len__(self) -> int:
        self._tell(self._every)
        return super().__len__()

    def __eq__(self, other: object) -> bool:
        self._tell(self._every)
        return super().__eq__(other)

    def __hash__(self) -> int:
        self._tell(self._every)
        return super().__hash__()

    @property
    def key(self) -> str:
        """As that of the architecture."""
        self._tell(self._every)
        return self._key

    def to_json(self) -> dict[str, Value]:
        """As that of the architecture."""
        self._tell(self._every)
        return super().to_json()


@dataclass(frozen=True, slots=True)
class _Result:
    outputs: Any
    costs: Mapping[str, int]  # multiply-adds by layer


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a module: choices that itself or its weight source read, and any module in it; who calls it."""

    read: set[str] = field(default_factory=set)
    within: dict[str, None] = field(default_factory=dict)  # a set in a fixed order
    callers: set[str] = field(default_factory=set)
    results: dict[Hashable, _Result] = field(default_factory=dict)


@dataclass(slots=True)
class _Run:
    """A module that runs: who owns what it reads, multiply-adds by layer, and those just computed by modules in it."""

    name: str
    owner: str
    costs: Counter[str] = field(default_factory=Counter)
    computed: int = 0


class Meter:
    """Runs the network of a space: `meter(arch)` gives the multiply-adds for one input, by the name of the layer.

    What a weight source computes is not counted: a subnet that is taken out no longer does that.
    """

    def __init__(self, space: ElasticSpace) -> None:
        self.space = space
        self._known: defaultdict[str, _Known] = defaultdict(_Known)
        self._running: list[_Run] = []
        self._net = without_storage(space)
        sources = {name for name, module in self._net.named_modules() if isinstance(module, WeightSource)}
        for name, module in self._net.named_modules():
            if name in sources:
                vars(module)["tensors"] = partial(self._run, name, module.tensors, True)
            elif type(module) in KEEPING:
                vars(module)["forward"] = _unchanged
            elif not any(name.startswith(f"{source}.") for source in sources):
                vars(module)["forward"] = partial(self._run, name, module.forward, False)

    def __call__(self, arch: Arch) -> Mapping[str, int]:
        """Layers that cost nothing are left out."""
        every = frozenset(choice.name for choice in self.space.choices)
        self._running = [_Run("", "")]
        with counted_macs() as self._computed, torch.device("meta"):
            self._net(example(self.space), Watched(arch, every, self._note))
        return self._running[0].costs

    @property
    def layers(self) -> list[str]:
        """The layers that have cost something so far."""
        return [
            name
            for name, known in self._known.items()
            if any(name in r.costs for r in known.results.values())
        ]

    def read_for(self, layer: str) -> set[str]:
        """The choices that the layer has read, and those by which its callers decide whether and how to call it."""
        found, waiting = set[str](), {layer}
        while waiting - found:
            found |= waiting
            waiting = {caller for name in waiting for caller in self._known[name].callers}
        return {choice for name in found for choice in self._known[name].read}

    def _note(self, names: Iterable[str]) -> None:
        """The module that runs reads choices."""
        self._known[self._running[-1].owner].read.update(names)
        self._note_within(names)

    def _note_within(self, names: Iterable[str]) -> None:
        for run in self._running:
            self._known[run.name].within.update(dict.fromkeys(names))

    def _run(self, name: str, forward: Callable[..., Any], source: bool, /, *args: Any, **kwargs: Any) -> Any:
        """Run a module, or remember what it gave."""
        known, outer = self._known[name], self._running[-1]
        known.callers.add(outer.name)
        given = _inputs(args, kwargs)  # before the run: a module may change the lists that it is given
        result = known.results.get(_case(known.within, given))
        if result is None:
            run = _Run(name, outer.owner if source else name)
            outputs = _copied(self._compute(run, forward, *args, **kwargs))
            result = _Result(outputs, Counter() if source else +run.costs)
            known.results[_case(known.within, given)] = result
        elif source:
            self._note(known.within)
        else:
            self._note_within(known.within)
        outer.costs.update(result.costs)
        return _copied(result.outputs)

    def _compute(self, run: _Run, forward: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        before = self._computed()
        self._running.append(run)
        outputs = forward(*args, **kwargs)
        self._running.pop()
        computed = self._computed() - before
        self._running[-1].computed += computed
        run.costs[run.name] += computed - run.computed
        return outputs


def _inputs(args: Iterable[Any], kwargs: Mapping[str, Any]) -> tuple[Hashable, ...]:
    """The architectures among the inputs, and of all others what a cost follows from."""
    inputs = (*args, *(value for pair in sorted(kwargs.items()) for value in pair))
    return tuple(value if isinstance(value, Watched) else _shape(value) for value in inputs)


def _case(read: Iterable[str], given: Iterable[Hashable]) -> Hashable:
    """What the outputs of a module follow from, but for their values: known inputs, and the choices that it read."""
    return tuple(value.peek(read) if isinstance(value, Watched) else value for value in given)


def _copied(outputs: Any) -> Any:
    """Outputs whose lists and dicts the caller may change."""
    if isinstance(outputs, dict):
        return {name: _copied(value) for name, value in outputs.items()}
    if type(outputs) in (list, tuple):
        return type(outputs)(map(_copied, outputs))
    return outputs


def _shape(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return value.shape, value.dtype
    if isinstance(value, tuple | list):
        return tuple(map(_shape, value))
    if isinstance(value, dict):
        return tuple((name, _shape(entry)) for name, entry in value.items())
    return value if isinstance(value, Hashable) else object()


def _unchanged(*args: Tensor, **kwargs: Any) -> Any:
    return (
        args[0] if args else kwargs.get("x", kwargs.get("input"))
    )  # as norms and layers of torch.nn name it


def without_storage(space: ElasticSpace) -> nn.Module:
    """A new network of the space on the `meta` device, in evaluation mode."""
    with torch.device("meta"):
        return space.network().eval().requires_grad_(False)


def example(space: ElasticSpace) -> Tensor:
    """One input (1, *input_shape) on the `meta` device; NasplatError where the space has no input_shape."""
    if space.input_shape is None:
        raise NasplatError(f"the multiply-adds of {space.name} depend on its input: give it an input_shape")
    kind = torch.float32 if space.vocabulary is None else torch.int64
    return torch.empty((1, *space.input_shape), dtype=kind, device="meta")
